import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';

const UNCAUGHT = new URL('uncaught.ts', import.meta.url).href;

/** A process with the handler installed, in which this fails. */
async function run(failure: string): Promise<{ status: number | null; lines: string[] }> {
  const script = `
    import { exitOnUncaught } from '${UNCAUGHT}';
    const error = (fields, message) => console.log(fields.origin, fields.err.message, message);
    exitOnUncaught({ error });
    ${failure}
    setTimeout(() => console.log('went on'), 20);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'close') as Promise<[number | null]>]);
  return { status, lines: output.trim().split('\n') };
}

test('an uncaught error is logged and ends the process at once', async () => {
  const thrown = await run(`setTimeout(() => { throw new Error('a timer') }, 1);`);
  expect(thrown).toEqual({ status: 1, lines: ['exception a timer uncaught error: the process exits'] });
  const rejected = await run(`void Promise.reject(new Error('a promise'));`);
  expect(rejected).toEqual({ status: 1, lines: ['rejection a promise uncaught error: the process exits'] });
});

test('a failing log does not keep the process alive', async () => {
  const { status, lines } = await run(
    `console.log = () => { throw new Error('no log') }; void Promise.reject(new Error('x'));`,
  );
  expect([status, lines]).toEqual([1, ['']]);
});
