/** Peak resident memory of this process. */
import { readFileSync } from 'node:fs';

/** In bytes. maxRSS may start at the parent's; Linux also keeps the figure of this program alone. */
export function peakResident() {
  try {
    const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (line) return Number(line[1]) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

/** Resident memory of this process now, in bytes. */
export const resident = () => process.memoryUsage.rss();
