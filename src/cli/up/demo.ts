/** One sandbox from creation to deletion, with the time of each phase: the first thing a newcomer sees. */
import { Millibox } from '../../sdk/index.ts';
import { sleep } from '../../lib/deadline.ts';
import { Operator } from '../io/operator.ts';
import type { Stack } from './stack.ts';

const PROGRAM = `import platform, sys
print("Hello from Python", platform.python_version(), "in a sandbox named", platform.node())
print("The sum of the squares below 100 is", sum(n * n for n in range(100)))`;
const WARM_LIMIT_MS = 120_000;

export async function runDemo(stack: Stack): Promise<void> {
  await using client = new Millibox({ url: stack.url, apiKey: stack.apiKey });
  const out = (line: string): void => void process.stdout.write(`${line}\n`);
  const phases: [string, number][] = [];
  const timed = async <T>(name: string, work: () => PromiseLike<T>): Promise<T> => {
    const start = performance.now();
    const result = await work();
    phases.push([name, performance.now() - start]);
    return result;
  };

  out('\n==> A first sandbox');
  const { image } = stack;
  if (image !== undefined) {
    await timed('base image', () => new Operator(stack).preload(image, WARM_LIMIT_MS, { onlyMissing: true }));
  }
  await timed('fill the pool', () => eventually(async () => (await new Operator(stack).warm()) > 0));
  const sandbox = client.sandboxes.create();
  try {
    await timed('create', () => sandbox.created());
    await timed('until it runs', () => sandbox.ready());
    await timed('first command (true)', () => sandbox.exec(['true'], { check: true }));
    const result = await timed('a Python program', () => sandbox.exec(['python3', '-c', PROGRAM], { check: true }));
    await timed('one more command (true)', () => sandbox.exec(['true'], { check: true }));
    for (const line of result.stdout.trimEnd().split('\n')) out(`    | ${line}`);
  } finally {
    await timed('delete', () => sandbox.delete());
  }
  for (const [name, ms] of phases) out(`    ${name.padEnd(26)}${ms.toFixed(1).padStart(9)} ms`);
}

/** Waits until the service is warm, and continues in any case. */
async function eventually(warm: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WARM_LIMIT_MS;
  while (performance.now() < end && !(await warm())) await sleep(50);
}
