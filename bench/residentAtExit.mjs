/**
 * Preloaded into a program whose peak memory is wanted, `node --import …/residentAtExit.mjs PROGRAM`: as it ends, writes
 * the bytes into the file that ATALHO_BENCH_RESIDENT names.
 */
import { writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { peakResident } from './resident.mjs';

if (isMainThread) process.on('exit', () => writeFileSync(process.env.ATALHO_BENCH_RESIDENT, String(peakResident())));
