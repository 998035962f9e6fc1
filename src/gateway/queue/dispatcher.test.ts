import { afterEach, expect, test } from 'vitest';
import { silent } from '../../lib/logger.ts';
import { pendingRecord, type SandboxSpec } from '../../protocol/node.ts';
import { plainSpec } from '../testing/plain-spec.ts';
import { Dispatcher } from './dispatcher.ts';
import { QueueView } from './queue-view.ts';
import type { Outcome } from './queue.ts';
import type { Taken } from './tickets.ts';

let dispatcher: Dispatcher | undefined;
afterEach(() => dispatcher?.stop());

/** A dispatcher whose tickets, named after their tenants, live in this object instead of Redis. */
function start(...ids: string[]) {
  const view = new QueueView();
  const waits = new Map(ids.map((id, age) => [id, specOf(id, age)]));
  const state = {
    /** Free places. */
    room: 1,
    /** Tickets that another gateway holds. */
    held: new Set<string>(),
    /** Tickets that this gateway holds. */
    taken: new Set<string>(),
    asked: [] as string[],
    offered: [] as string[],
    dropped: [] as string[],
    /** Whether locks last until their ticket is done. */
    locks: true,
    /** Redis answers a `take` once this has resolved. */
    answers: Promise.resolve(),
    outcome: (_id: string): Promise<Outcome> => Promise.resolve('placed'),
  };
  view.start({
    fits: (needs) => state.room >= needs.length,
    isOpen: (id) => waits.has(id),
    isPlaced: () => false,
    allConnected: () => true,
    reported: () => undefined,
    withdrawn: () => undefined,
  });
  for (const spec of waits.values()) view.enter({ record: pendingRecord(spec), priority: 0, weight: 1 });
  const isFree = (id: string): boolean => !state.held.has(id) && !state.taken.has(id);
  const tickets = {
    take: async (tenant: string): Promise<Taken | null> => {
      state.asked.push(tenant);
      await state.answers;
      const spec = [...waits.values()].find((one) => one.tenant === tenant && isFree(one.id));
      if (spec === undefined) return null;
      state.taken.add(spec.id);
      const back = (): Promise<void> => Promise.resolve(void state.taken.delete(spec.id));
      const done = (): Promise<boolean> => back().then(() => state.locks);
      return { ticket: { spec, priority: 0 }, back, done } as unknown as Taken;
    },
    drop: (_tenant: string, id: string) => Promise.resolve(state.dropped.push(id) > 0),
    held: (_tenant: string, some: string[]) =>
      Promise.resolve(new Map(some.filter((id) => !isFree(id)).map((id) => [id, 'lock']))),
    advance: () => Promise.resolve(false),
    recover: () => Promise.resolve(false),
  };
  dispatcher = new Dispatcher({
    link: { up: true },
    view,
    tickets,
    waitingList: { gone: () => Promise.resolve() },
    outbox: { send: (_name: string, work: () => Promise<void>) => work() },
    log: silent,
    recoverMs: 60_000,
    onPlaced: () => undefined,
  } as never);
  dispatcher.start(({ spec: { id } }) => {
    if (state.room <= 0) return null;
    state.room -= 1;
    state.offered.push(id);
    waits.delete(id);
    return state.outcome(id);
  });
  return { dispatcher, state };
}

const specOf = (id: string, age: number): SandboxSpec =>
  plainSpec({ id, tenant: id.slice(0, 1), createdAtMs: 1_700_000_000_000 + age, expiresAtMs: 4_000_000_000_000 });
test('a dispatcher that stops takes no more tickets, and returns the one it is just taking', async () => {
  const { dispatcher, state } = start('a1', 'b1');
  const answered = Promise.withResolvers<void>();
  state.answers = answered.promise;
  state.room = 2;
  dispatcher.wake();
  expect(state.asked).toEqual(['a']);
  const stopped = dispatcher.stop();
  answered.resolve();
  await stopped;
  expect(state.taken).toEqual(new Set());
  expect(state.offered).toEqual([]);
  expect(state.asked).toEqual(['a']);
});

test('a place reserved for a ticket that another gateway holds is checked again soon, for other tenants too', async () => {
  const { dispatcher, state } = start('a1', 'b1');
  state.held.add('a1');
  dispatcher.wake();
  // By now Redis has answered everything asked in one pass.
  await new Promise((resolve) => setImmediate(resolve));
  state.held.delete('a1');
  await expect.poll(() => state.offered).toEqual(['a1']);
});

test.each([
  { locks: true, dropped: [] },
  { locks: false, dropped: ['a1'] },
])(
  'a ticket that is on a node is removed even if its lock ($locks) had expired by then',
  async ({ locks, dropped }) => {
    const { dispatcher, state } = start('a1');
    state.locks = locks;
    dispatcher.wake();
    await expect.poll(() => state.offered).toEqual(['a1']);
    await dispatcher.stop();
    expect(state.dropped).toEqual(dropped);
  },
);
