/** A report as JUnit XML, which every CI server shows: a test suite an op, a test case a call. */
import type { CaseVerdict, Report } from '../judge.js';
import { byOp, countsOf, headline, wrongLines } from './text.js';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** For text and attribute values alike; what XML cannot hold becomes a question mark. */
export function escapeXml(text: string): string {
  return text.replace(/[^\P{Cc}\t\n\r]|[\ufffe\uffff]/gu, '?').replace(/[&<>"']/g, (c) => ENTITIES[c]);
}

function testCase(one: CaseVerdict, backend: string): string {
  const head = `<testcase name="${escapeXml(headline(one))}" classname="${escapeXml(`${backend}.${one.op}`)}"`;
  if (one.status === 'passed') return `${head}/>`;
  if (one.status === 'absent') return `${head}><skipped message="the backend has no such op"/></testcase>`;
  const text = escapeXml(wrongLines(one).join('\n'));
  const tag = one.status === 'error' ? 'error' : 'failure';
  return `${head}><${tag} message="${text.split('\n')[0]}">${text}</${tag}></testcase>`;
}

/** The report as JUnit XML: a suite for each op, a test for each call. */
export function junitReport(report: Report): string {
  const lines = ['<?xml version="1.0" encoding="UTF-8"?>', `<testsuites name="${escapeXml(report.backend)}">`];
  for (const [op, cases] of byOp(report.cases)) {
    const { failed, errors, absent } = countsOf(cases);
    lines.push(
      `<testsuite name="${escapeXml(op)}" tests="${cases.length}" failures="${failed}" errors="${errors}" skipped="${absent}">`,
      ...cases.map((one) => testCase(one, report.backend)),
      '</testsuite>',
    );
  }
  return `${[...lines, '</testsuites>'].join('\n')}\n`;
}
