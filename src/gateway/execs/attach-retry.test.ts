import { afterEach, expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

/** A command that has ended and whose exit nobody has read. */
async function ended(): Promise<{ execId: string; output: string }> {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const { json } = await gateway.exec(id, { stdout: 'output', exit: 3 }, { headers: { 'idempotency-key': 'kept' } });
  return { execId: json.execId, output: `/v1/sandboxes/${id}/execs/${json.execId}/output?channel=stdout` };
}

test("concurrent readers of an ended command's output each get all of it", async () => {
  const { output } = await ended();
  const answers = await Promise.all(Array.from({ length: 20 }, () => gateway.ask('GET', output)));
  expect(answers.map(({ status, bytes }) => `${status} ${bytes.toString()}`)).toEqual(Array(20).fill('200 output'));
});

test('a client that has not yet read the output of an ended command keeps it, and a reader waits', async () => {
  const { execId, output } = await ended();
  const exec = gateway.node.execs.all.get(execId)!;
  let taken = false;
  // Stands in for the slow client's stream.
  exec.stream = { reset: () => (taken = true) } as unknown as NonNullable<typeof exec.stream>;
  const reading = gateway.ask('GET', output);
  const looks = gateway.node.execs.looks;
  await gateway.until('it has looked again', () => gateway.node.execs.looks > looks + 2);
  expect(taken).toBe(false);
  exec.stream = null;
  expect((await reading).bytes.toString()).toBe('output');
});

test('a read that another reader took over is retried', async () => {
  const { retryWhileAttached } = await import('./attach-retry.ts');
  let tries = 0;
  const read = () => (++tries < 3 ? Promise.reject(new ServiceError('cancelled')) : Promise.resolve('read'));
  expect(await retryWhileAttached(read)).toBe('read');
  const gone = AbortSignal.abort();
  await expect(retryWhileAttached(() => Promise.reject(new ServiceError('cancelled')), gone)).rejects.toMatchObject({
    code: 'cancelled',
  });
});
