import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Minutes each: they begin first, lest one runs alone at the end. */
const LONG = [
  'sandboxes',
  'goldens-model',
  'mutants',
  'webgpu',
  'goldens-resnet',
  'decisions',
  'cli',
  'conformance',
  'page',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONG.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return at < 0 ? LONG.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    sequence: { sequencer: LongestFirst },
    // Two forks: the machine may have two cores, and the conformance runs take most of the time.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Of the sandboxes' rows.
    maxConcurrency: 2,
  },
});
