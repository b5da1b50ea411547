/** The package's own version, read from its package.json: beside `src` as beside `dist`. */
import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

export const VERSION = manifest.version;

/** What files that the command writes say they are from. */
export const WRITER = `atalho ${VERSION}`;
