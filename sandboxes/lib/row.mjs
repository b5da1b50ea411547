// What a row is, and when it is right.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.mjs';

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {'embed' | 'reference' | 'infer'} build
 * @property {string[] | null} forbids what the sandbox forbids of report.js's tries; null where its engine cannot try
 * @property {Need[]} needs
 * @property {(limit: number) => Promise<Told>} tell runs the guest, for at most so many milliseconds
 *
 * @typedef {{ path: string, get: string }} Need a file that must be there, and the command that gets it
 *
 * @typedef {{ engine: string, reports: string[] }} Told
 * The engine with its version, and what `report` gave: of the guest and, in a row of `reference`, of the WASM guest besides, which must
 * be refused there.
 */

/** The hashes, the same for all. */
export const published = JSON.parse(readFileSync(join(root, 'hash.json'), 'utf8'));

/** A file of an npm package; `folder` has the packages of another processor. */
export function npm(path, folder = '') {
  return { path: join(root, folder, 'node_modules', path), get: `npm --prefix ${join('sandboxes', folder)} ci` };
}

/** A file of Debian packages, which the environment variable may put elsewhere. */
export function debian(path, variable, packages) {
  return {
    path: process.env[variable] ?? path,
    get: `apt-get install -y --no-install-recommends ${packages}, or ${variable}=/path/to/it`,
  };
}

export const node = { path: process.execPath, get: 'Node' };

/** What would bring the row to run, or null where it can. */
export function missing({ needs }) {
  const need = needs.find(({ path }) => !existsSync(path));
  return need === undefined ? null : `no ${need.path.replace(`${root}/`, 'sandboxes/')}: ${need.get}`;
}

/** Lines that are reports, among whatever else an engine prints. */
export const reportsIn = (text) => text.split('\n').filter((line) => line.startsWith('{"'));

/** @returns {{ engine: string, logits: string, weights?: string, forbidden: string[] }} @throws Error when anything is wrong */
export function judge({ build, forbids }, { engine, reports }) {
  const [own, other] = reports.map((report) => JSON.parse(report));
  if (own === undefined) throw new Error(`no report`);
  if (own.error !== undefined) throw new Error(`${own.error}\n${own.stack}`);
  const { logits, weights, forbidden } = own;
  if (logits !== published.logits) throw new Error(`logits ${logits}; want ${published.logits}`);
  const trained = build === 'infer' ? undefined : published.weights;
  if (weights !== trained) throw new Error(`weights ${weights}; want ${trained}`);
  if (build === 'reference' && !/^DeviceError: wasm: .*use reference\(\)/.test(other?.error)) {
    throw new Error(`wasm() should be a DeviceError that names reference(), but: ${JSON.stringify(other)}`);
  }
  if (forbids !== null && forbids.join() !== forbidden.join()) {
    throw new Error(`forbids [${forbidden.join()}]; want [${forbids.join()}]`);
  }
  return { engine, logits, weights, forbidden };
}

/** Runs a row. @throws Error when anything is wrong */
export const run = async (row, limit) => judge(row, await row.tell(limit));
