/**
 * Version of the arithmetic that `docs/NUMERICS.md` states. Checkpoints carry it: results made under one version
 * are promised bit for bit only under the same. A change of bits is a new version, named in the CHANGELOG.
 */
export const NUMERICS_VERSION = 1;
