/**
 * A vitest reporter that writes each test's start and result to a file at once, so that results can be counted at the
 * end of a run, and a run that hung shows where.
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node';
import type { ResultLine } from './results.ts';
import { testRun } from './config.ts';

export default class ResultsReporter implements Reporter {
  readonly #file: string | undefined;

  constructor() {
    const { directory, phase } = testRun();
    this.#file = directory === undefined ? undefined : join(directory, `${phase}.ndjson`);
  }

  onTestRunStart(): void {
    this.#write({ kind: 'run-start' });
  }

  onTestCaseReady(test: TestCase): void {
    this.#write({ kind: 'start', name: nameOf(test) });
  }

  onTestCaseResult(test: TestCase): void {
    const result = test.result();
    const state = result.state !== 'pending' ? result.state : isPassedOver(test) ? 'skipped' : 'failed';
    const note = result.state === 'skipped' ? result.note : undefined;
    const why = result.state === 'failed' ? whyOf(result.errors) : undefined;
    this.#write({
      kind: 'result',
      name: nameOf(test),
      state,
      ...(note === undefined ? {} : { note }),
      ...(why === undefined ? {} : { why }),
    });
  }

  /** A file that cannot be loaded, or whose hooks fail, has no failing test: it counts as one failure itself. */
  onTestModuleEnd(module: TestModule): void {
    const inTests = [...module.children.allTests()].some((test) => test.result().state === 'failed');
    if (module.errors().length > 0 || (module.state() === 'failed' && !inTests)) {
      const suites = [...module.children.allSuites()].flatMap((suite) => suite.errors());
      const why = whyOf([...module.errors(), ...suites]);
      this.#write({ kind: 'result', name: module.relativeModuleId, state: 'failed', why });
    }
  }

  onTestRunEnd(_modules: readonly TestModule[], errors: readonly unknown[]): void {
    for (const error of errors) {
      const message = (error as { message?: unknown }).message;
      this.#write({ kind: 'result', name: `error outside any test: ${String(message)}`, state: 'failed' });
    }
    this.#write({ kind: 'run-end' });
  }

  #write(line: ResultLine): void {
    if (this.#file !== undefined) appendFileSync(this.#file, `${JSON.stringify(line)}\n`);
  }
}

/** In a skipped suite nested in a skipped one, vitest marks no test: they have no result at the end. */
function isPassedOver(test: TestCase): boolean {
  let parent: TestSuite | TestModule = test.parent;
  while (parent.type === 'suite' && parent.options.mode !== 'skip') parent = parent.parent;
  return parent.type === 'suite';
}

const whyOf = (errors: readonly { message: string; diff?: string | undefined }[]): string =>
  errors
    .flatMap(({ message, diff = '' }) => (diff === '' ? [message] : [message, stripVTControlCharacters(diff)]))
    .join('\n');

function nameOf(test: TestCase): string {
  return `${test.module.relativeModuleId} > ${test.fullName}`;
}
