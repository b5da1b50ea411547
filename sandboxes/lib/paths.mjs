import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** This folder's parent, `sandboxes`. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** The guests, bundled. */
export const out = join(root, 'dist');
/** The shipped builds. */
export const embed = join(root, '../dist/embed');
