import { expect, test } from 'vitest';
import type { Json, MuxStream, StreamHandler } from '../../../../mux/index.ts';
import { ServiceError } from '../../../../protocol/errors.ts';
import { programOf } from '../../../execs/program.ts';
import type { Opener } from '../../../nodes/unary.ts';
import { Session } from './session.ts';

/** A node that the test provides for each lookup; a signal ends the wait for it. */
function service() {
  const opened: { op: unknown; handler: StreamHandler; urgent: unknown[] }[] = [];
  const open = ({ op }: Json, handler: StreamHandler): MuxStream => {
    const urgent: unknown[] = [];
    opened.push({ op, handler, urgent });
    return { closed: false, urgent: (message: unknown) => void urgent.push(message), reset: () => undefined } as never;
  };
  const waits: PromiseWithResolvers<void>[] = [];
  const asked: (() => void)[] = [];
  const locate = async (_tenant: string, _sandbox: string, signal: AbortSignal): Promise<Opener> => {
    const node = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => node.reject(signal.reason as Error), { once: true });
    waits.push(node);
    for (const tell of asked.splice(0)) tell();
    await node.promise;
    return { open };
  };
  /** Resolves with the wait of the nth call. */
  const wait = async (number: number): Promise<PromiseWithResolvers<void>> => {
    while (waits.length < number) await new Promise<void>((resolve) => asked.push(resolve));
    return waits[number - 1] as PromiseWithResolvers<void>;
  };
  return { execs: { locate, signal: () => Promise.reject(new Error('not asked for')) }, opened, wait };
}

function session(execs: ReturnType<typeof service>['execs']): Session {
  const program = programOf({ command: 'x', encoding: 'utf8' }, { sandbox: 'sbx-1', id: 'exe-1', detachedMs: 0 });
  return new Session({ execs, tenant: 'a', program, resumeMs: 20_000 });
}

test('a command whose call was lost is located in order to kill it, and never sent again', async () => {
  const { execs, opened, wait } = service();
  const one = session(execs);
  (await wait(1)).resolve();
  await expect.poll(() => opened.length).toBe(1);
  opened[0]?.handler.closed?.(new ServiceError('interrupted'));
  const second = await wait(2);
  one.kill();
  second.resolve();
  await expect.poll(() => opened[1]?.urgent).toEqual([{ type: 'kill' }]);
  opened[1]?.handler.closed?.(new ServiceError('exec_not_found'));
  await one.over;
  expect(opened.map(({ op }) => op)).toEqual(['exec', 'attach']);
});

test('a command that is killed before it has a node never reaches one', async () => {
  const { execs, opened, wait } = service();
  const one = session(execs);
  const found = await wait(1);
  one.kill();
  found.resolve();
  await one.over;
  await expect(one.started).rejects.toMatchObject({ code: 'cancelled' });
  expect(opened).toEqual([]);
});
