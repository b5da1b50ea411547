// Prints `N passed, N failed, N skipped` from vitest's JSON report; fails when anything failed, was skipped or did not run.
import { readFileSync } from 'node:fs';

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { numPassedTests: passed, numFailedTests, numPendingTests, numTodoTests, testResults } = report;
// A file that fails before its first test counts as one failure.
const broken = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length;
const failed = numFailedTests + broken;
const skipped = numPendingTests + numTodoTests;
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed === 0 && skipped === 0 && passed > 0 ? 0 : 1);
