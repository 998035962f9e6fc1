import { expect, test, vi } from 'vitest';
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import type { ServiceError } from '../../src/protocol/errors.ts';
import { Channel } from '../../src/protocol/frames.ts';
import { newRecord, Sandbox } from '../sandboxes/sandbox.ts';
import { newSpec } from '../testing/harness.ts';
import { LinkRoom } from './link-room.ts';
import { execKind, fileKind } from './relay-kinds.ts';
import { relay, type RelayKind } from './relay.ts';

const NO_CALLS = { callBegins: () => undefined, callEnds: () => undefined };

/** An exec that waits for its sandbox, and a record of what happens to it. */
function waiting() {
  const refusals: ServiceError[] = [];
  let consumed = 0;
  const outer = {
    closed: false,
    refuse: (error: ServiceError) => refusals.push(error),
    consume: (bytes: number) => (consumed += bytes),
  };
  const writes: Buffer[] = [];
  const messages: Json[] = [];
  let ended = false;
  const inner = {
    closed: false,
    write: (_channel: number, bytes: Uint8Array) => void writes.push(Buffer.from(bytes)),
    urgent: (message: Json) => {
      expect(ended).toBe(false);
      messages.push(message);
    },
    fin: () => (ended = true),
  };
  const spec = newSpec();
  const sandbox = new Sandbox(spec, newRecord(spec, Date.now()));
  const kind = execKind({ op: 'exec', sandbox: spec.id, argv: ['cat'], stdin: true }, { oomKills: async () => 0 });
  const handler: StreamHandler = relay(outer as unknown as MuxStream, sandbox, NO_CALLS, kind);
  const run = (): void => {
    sandbox.move('PROVISIONING');
    sandbox.move('RUNNING');
    sandbox.launched = { link: { connected: true, open: () => inner } } as unknown as Sandbox['launched'];
    sandbox.letIn();
  };
  return { handler, run, refusals, writes, messages, consumed: () => consumed };
}

test('small frames that wait for a sandbox are coalesced, and arrive intact', () => {
  const { handler, run, writes, consumed } = waiting();
  const bytes = 64 * 1024;
  for (let at = 0; at < bytes; at++) handler.data?.(Channel.STDIN, Buffer.from([at & 255]));
  run();
  expect(writes.length).toBeLessThan(100);
  expect(Buffer.concat(writes).every((byte, at) => byte === (at & 255))).toBe(true);
  expect([Buffer.concat(writes).length, consumed()]).toEqual([bytes, bytes]);
});

test('only what boxinit understands is passed on, of queued resizes only the latest, and all before the FIN', () => {
  const { handler, run, messages } = waiting();
  const padding = 'x'.repeat(500_000);
  for (let cols = 1; cols <= 100; cols++) handler.event?.({ type: 'resize', cols, rows: 1, padding });
  handler.event?.({ type: 'signal', signal: 'TERM', padding });
  handler.event?.({ type: 'signal', signal: padding });
  handler.event?.({ type: 'rubbish', padding });
  handler.fin?.(Channel.ALL);
  run();
  expect(messages).toEqual([
    { type: 'resize', cols: 100, rows: 1 },
    { type: 'signal', signal: 'TERM' },
  ]);
});

test('a gateway that sends more signals than may be queued is refused', () => {
  const { handler, refusals } = waiting();
  for (let i = 0; i < 1_000; i++) handler.event?.({ type: 'signal', signal: 'TERM' });
  expect(refusals[0]).toMatchObject({ code: 'rate_limited' });
});

/** Joins a gateway's stream to that of a running sandbox. @returns what boxinit's messages are given to */
function begun(outer: object, kind: RelayKind): StreamHandler {
  let boxinit: StreamHandler = {};
  const open = (_request: Json, handler: StreamHandler): object => {
    boxinit = handler;
    return { closed: false };
  };
  const spec = newSpec();
  const sandbox = new Sandbox(spec, newRecord(spec, Date.now()));
  relay(outer as MuxStream, sandbox, NO_CALLS, kind);
  sandbox.move('PROVISIONING');
  sandbox.move('RUNNING');
  sandbox.launched = { link: { connected: true, open } } as unknown as Sandbox['launched'];
  sandbox.letIn();
  return boxinit;
}

test('a message that cannot be passed on, after one that was completed, ends its stream and nothing else', async () => {
  const refusals: ServiceError[] = [];
  const events: Json[] = [];
  const outer = {
    closed: false,
    refuse: (error: ServiceError) => refusals.push(error),
    event: (message: Json) => {
      if (message['n'] === 2) throw new Error('no');
      events.push(message);
    },
  };
  const kind: RelayKind = {
    request: () => ({ op: 'port', port: 1 }),
    opened: (answer) => answer,
    event: (message) => (message['n'] === 1 ? Promise.resolve(message) : message),
    takesCommands: false,
  };
  const boxinit = begun(outer, kind);
  boxinit.event?.({ n: 1 });
  boxinit.event?.({ n: 2 });
  await vi.waitFor(() => expect(refusals).toMatchObject([{ code: 'internal' }]));
  expect(events).toEqual([{ n: 1 }]);
});

test('changes that a crowded link does not take are left out, which one message tells once it does', async () => {
  const events: Json[] = [];
  const room = Promise.withResolvers<void>();
  const outer = {
    closed: false,
    crowded: true,
    room: () => room.promise,
    accept: () => undefined,
    event: (message: Json) => events.push(message),
  };
  const watch = { op: 'file', sandbox: 'sbx-1', call: 'watch', path: '/tmp' };
  const boxinit = begun(outer, fileKind(watch, new LinkRoom()));
  const change = (path: string): Json => ({ type: 'change', kind: 'create', path });
  boxinit.opened?.({});
  const long = `/tmp/${'x'.repeat(4_000)}`;
  for (let i = 0; i < 10_000; i++) boxinit.event?.(change(long));
  const taken = events.length;
  // A megabyte's worth.
  expect(taken).toBeGreaterThan(100);
  expect(taken).toBeLessThan(2_000);
  outer.crowded = false;
  boxinit.event?.(change('/tmp/later'));
  room.resolve();
  await vi.waitFor(() => expect(events).toHaveLength(taken + 2));
  expect(events.slice(taken)).toEqual([{ type: 'change', kind: 'overflow', path: '/tmp' }, change('/tmp/later')]);
});
