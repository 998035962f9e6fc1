/** The official clients, as installed by the set-up, each in its own virtual environment. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as z from 'zod';
import { setupImage } from '../../../src/cli/config.ts';
import { allowedEnvironment, setupHome } from '../../helpers/config.ts';
import type { TestStack } from '../../helpers/stack.ts';

const CHECKS = join(import.meta.dirname, 'checks');

/** A program of a virtual environment; undefined if the package index could not be reached. */
export function program(venv: string, name = 'python'): string | undefined {
  const home = join(setupHome(), 'prime-venvs', venv);
  const path = join(home, 'bin', name);
  return existsSync(join(home, '.ready')) && existsSync(path) ? path : undefined;
}

/** The test image. */
export const testImage = (): string => setupImage()?.ref ?? 'python:3.12-slim';

/** The variables that a user of the official clients sets, and a separate home. */
export function clientEnvironment(stack: TestStack, home: string): Record<string, string> {
  const directory = join(stack.home, `home-${home}`);
  mkdirSync(directory, { recursive: true });
  return {
    ...allowedEnvironment(),
    HOME: directory,
    PRIME_API_BASE_URL: stack.url,
    PRIME_API_KEY: stack.apiKey,
    IMAGE: testImage(),
    // Compiled once instead of by each process, and not into this repository.
    PYTHONPYCACHEPREFIX: join(setupHome(), 'prime-venvs/pycache'),
    PYTHONUNBUFFERED: '1',
  };
}

/** Names of the checks in a file, from its decorators. */
export function checksIn(file: string): string[] {
  const text = readFileSync(join(CHECKS, file), 'utf8');
  return [...text.matchAll(/^@check\("(.+)"\)$/gm)].map(([, name]) => name ?? '');
}

const Result = z.object({
  name: z.string(),
  state: z.enum(['passed', 'failed']),
  message: z.string().optional(),
});
export type CheckResult = z.infer<typeof Result>;

export interface CheckRunOptions {
  python: string;
  file: string;
  env: Record<string, string>;
}

/** One file of checks as a child process. Each result is available as soon as its check has ended. */
export class CheckRun {
  readonly #options: CheckRunOptions;
  readonly #results = new Map<string, PromiseWithResolvers<CheckResult>>();
  #child: ChildProcess | undefined;

  constructor(options: CheckRunOptions) {
    this.#options = options;
    for (const name of checksIn(options.file)) this.#results.set(name, Promise.withResolvers());
  }

  /** Resolves once all have ended. Never rejects: a check that did not end has failed. */
  async run(): Promise<void> {
    const { python, file, env } = this.#options;
    const child = spawn(python, [join(CHECKS, file)], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-4000)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const result = Result.safeParse(parse(line));
      if (result.success) this.#results.get(result.data.name)?.resolve(result.data);
    });
    await once(child, 'close');
    for (const [name, each] of this.#results) {
      each.resolve({ name, state: 'failed', message: `the check did not run to its end\n${stderr}` });
    }
  }

  async result(name: string): Promise<CheckResult> {
    const found = this.#results.get(name);
    if (found === undefined) throw new Error(`no check ${name}`);
    return await found.promise;
  }

  stop(): void {
    this.#child?.kill('SIGKILL');
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
