import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import {
  createMux,
  socketTransport,
  type Json,
  type Mux,
  type MuxStream,
  type StreamHandler,
} from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { encodeFrame } from '../../src/protocol/frames.ts';
import { Harness, until } from '../testing/harness.ts';
import { SupervisorLink } from './supervisor-link.ts';

const TOKEN = 'the token of this container';
const WAIT = { deadlineMs: 20_000 };

class Fixture implements AsyncDisposable {
  readonly #directory = mkdtempSync(path.join(tmpdir(), 'mbx-'));
  readonly socketPath = path.join(this.#directory, 'agent.sock');
  readonly #callers: Mux[] = [];
  link!: SupervisorLink;

  static async open(): Promise<Fixture> {
    const fixture = new Fixture();
    fixture.link = await SupervisorLink.listen({
      id: 'mbx-1',
      socketPath: fixture.socketPath,
      token: TOKEN,
      log: silent,
    });
    return fixture;
  }

  /** A caller that sends this HELLO, and answers with `onOpen`. */
  call(hello: Json, onOpen?: (stream: MuxStream) => StreamHandler): { mux: Mux; closed: Promise<ServiceError | null> } {
    const closed = Promise.withResolvers<ServiceError | null>();
    const mux = createMux({
      transport: socketTransport(net.connect(this.socketPath)),
      role: 'dialler',
      hello,
      onHello: () => undefined,
      onClose: (error) => closed.resolve(error),
      ...(onOpen === undefined ? {} : { onOpen }),
    });
    this.#callers.push(mux);
    return { mux, closed: closed.promise };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const mux of this.#callers) mux.close();
    this.link.close();
    rmSync(this.#directory, { recursive: true, force: true });
    await Promise.resolve();
  }
}

const hello = (changes: Json = {}): Json => ({
  generation: 1,
  token: TOKEN,
  version: 'x',
  pid: 1,
  blank: false,
  ...changes,
});

test('a caller without the token is disconnected, and the real one is undisturbed', async () => {
  await using f = await Fixture.open();
  f.call(hello());
  await f.link.arrival(WAIT);
  for (const wrong of [hello({ token: 'another' }), hello({ generation: 99 }), { nonsense: true }]) {
    await f.call(wrong).closed;
  }
  expect(f.link.connected).toBe(true);
  expect(f.link.hello.version).toBe('x');
});

test('callers without a HELLO are bounded', async () => {
  await using f = await Fixture.open();
  const sockets = Array.from({ length: 12 }, () => net.connect(f.socketPath));
  let closed = 0;
  for (const socket of sockets)
    socket
      .on('error', () => undefined)
      .on('close', () => (closed += 1))
      .resume();
  await until('most are dropped', () => closed >= 8);
  f.call(hello());
  await f.link.arrival(WAIT);
  for (const socket of sockets) socket.destroy();
});

test('garbage instead of frames costs the caller its connection', async () => {
  await using f = await Fixture.open();
  const socket = net.connect(f.socketPath);
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.resume();
  socket.write(Buffer.alloc(4_096, 0xff));
  await closed;
  expect(f.link.connected).toBe(false);
});

test('boxinit may reconnect, and the latest connection counts', async () => {
  await using f = await Fixture.open();
  const first = f.call(hello());
  await f.link.arrival(WAIT);
  f.call(hello({ version: 'again' }));
  await until('the second is taken', () => f.link.hello.version === 'again');
  await first.closed;
  expect(f.link.connected).toBe(true);
});

test('a call gets the answer, the refusal, or an error when the link is cut', async () => {
  await using f = await Fixture.open();
  const caller = f.call(hello(), (stream) => {
    if (stream.request['op'] === 'no') throw new ServiceError('exec_not_found', 'no such thing');
    if (stream.request['op'] === 'yes') queueMicrotask(() => stream.accept({ yes: true }));
    return {};
  });
  await f.link.arrival(WAIT);
  expect(await f.link.call({ op: 'yes' })).toEqual({ yes: true });
  await expect(f.link.call({ op: 'no' })).rejects.toMatchObject({ code: 'exec_not_found' });
  await expect(f.link.call({ op: 'silence' }, { deadlineMs: 20 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
  const cut = f.link.call({ op: 'silence' });
  caller.mux.close();
  await expect(cut).rejects.toMatchObject({ code: 'interrupted' });
  expect(() => f.link.open({ op: 'yes' }, {})).toThrow('not connected');
});

test('calls that boxinit does not answer, or does not end, leave nothing on the link', async () => {
  await using f = await Fixture.open();
  const heard: string[] = [];
  const caller = f.call(hello(), (stream) => {
    if (stream.request['op'] === 'half') queueMicrotask(() => stream.accept({ half: true }));
    return { closed: (error) => heard.push(error?.code ?? 'ended') };
  });
  await f.link.arrival(WAIT);
  await expect(f.link.call({ op: 'none' }, { deadlineMs: 20 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
  const given = new AbortController();
  const abandoned = f.link.call({ op: 'none' }, { signal: given.signal });
  given.abort(new ServiceError('cancelled'));
  await expect(abandoned).rejects.toMatchObject({ code: 'cancelled' });
  expect(await f.link.call({ op: 'half' }, { deadlineMs: 3_000 })).toEqual({ half: true });
  await until('no stream is open', () => caller.mux.stats.streams === 0 && heard.length === 3);
  expect(f.link.connected).toBe(true);
});

test('a refusal cannot speak for the platform', async () => {
  await using f = await Fixture.open();
  f.call(hello(), () => {
    throw new ServiceError('unauthenticated', 'x'.repeat(100_000), { retryAfterMs: 5 });
  });
  await f.link.arrival(WAIT);
  const error = await f.link.call({ op: 'x' }).catch((thrown: unknown) => thrown as ServiceError);
  expect(error).toMatchObject({ code: 'internal', retryAfterMs: undefined });
  expect((error as ServiceError).message.length).toBe(1_024);
});

test('a protocol violation is reported to the owner', async () => {
  await using f = await Fixture.open();
  const events: string[] = [];
  f.link.events = { hostile: (error) => events.push(error.code), disconnected: () => events.push('gone') };
  const socket = net.connect(f.socketPath);
  socket.on('error', () => undefined).resume();
  socket.write(
    encodeFrame({ type: 1, flags: 0, channel: 0, stream: 0, payload: Buffer.from(JSON.stringify(hello())) }),
  );
  await f.link.arrival(WAIT);
  socket.write(encodeFrame({ type: 77, flags: 0, channel: 0, stream: 0, payload: Buffer.alloc(0) }));
  await until('it is reported', () => events.length === 2);
  expect(events).toEqual(['protocol_error', 'gone']);
});

test('calls to a boxinit that stops reading are refused once too many wait, and no other boxinit notices', async () => {
  await using f = await Fixture.open();
  await using neighbour = await Fixture.open();
  neighbour.call(hello(), (stream) => {
    queueMicrotask(() => stream.accept({ yes: true }));
    return {};
  });
  const events: string[] = [];
  f.link.events = { hostile: (error) => events.push(error.message), disconnected: () => events.push('gone') };
  // Paused: it never reads.
  const socket = net.connect(f.socketPath);
  socket.on('error', () => undefined);
  socket.write(
    encodeFrame({ type: 1, flags: 0, channel: 0, stream: 0, payload: Buffer.from(JSON.stringify(hello())) }),
  );
  await Promise.all([f.link.arrival(WAIT), neighbour.link.arrival(WAIT)]);
  const ends: string[] = [];
  const argv = ['true', 'x'.repeat(1_000_000)];
  // More than the link buffers for a peer.
  for (let i = 0; i < 80; i++) {
    try {
      f.link.open({ op: 'exec', argv }, { closed: (error) => ends.push(error?.code ?? 'ended') });
    } catch (error) {
      ends.push(ServiceError.from(error).code);
    }
    if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  // Whether it is alive, its answers to PINGs show.
  expect([events, f.link.connected]).toEqual([[], true]);
  expect(new Set(ends)).toEqual(new Set(['rate_limited']));
  const refused = ends.length;
  expect(refused).toBeLessThan(40);
  expect(await neighbour.link.call({ op: 'yes' })).toEqual({ yes: true });
  socket.destroy();
  await vi.waitFor(() => expect(events).toEqual(['gone']));
  expect([ends.length, new Set(ends.slice(refused))]).toEqual([80, new Set(['interrupted'])]);
});

test('a path too long for a socket is refused', async () => {
  const socketPath = `/tmp/${'x'.repeat(200)}/agent.sock`;
  await expect(SupervisorLink.listen({ id: 'a', socketPath, token: TOKEN, log: silent })).rejects.toThrow(
    'longer than',
  );
});

test.for([
  { what: 'an exit that cannot be true', event: { type: 'exit', exitCode: 4_000_000 } },
  { what: 'lost output that ends before it begins', event: { type: 'output_lost', channel: 'stdout', from: 9, to: 3 } },
])('a sandbox whose boxinit sends $what has ended, and no other', async ({ event }) => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const { id: neighbour } = await h.sandbox();
  const container = h.containerOf(id);
  const meta = JSON.parse(
    readFileSync(path.join(h.dataDir, 'c', container, 'meta.json'), 'utf8').split('\n')[0] ?? '',
  ) as { token: string };
  // Code inside has taken boxinit over: it has the token and speaks the protocol, and boxinit does not reconnect in
  // between.
  h.runtime.silence(container);
  createMux({
    transport: socketTransport(net.connect(path.join(h.dataDir, 'c', container, 'run/agent.sock'))),
    role: 'dialler',
    hello: hello({ token: meta.token, version: 'evil' }),
    onHello: () => undefined,
    onOpen: (stream) => {
      queueMicrotask(() => {
        stream.accept({ pid: 5 });
        stream.event(event);
      });
      return {};
    },
  });
  await until('it has called', () => h.agent.sandboxes.get(id).launched?.link.hello.version === 'evil');
  await expect(h.client.exec(id, { argv: ['true'] })).rejects.toMatchObject({ code: 'sandbox_ended' });
  expect(h.record(id)).toMatchObject({ status: 'ERROR', reason: 'internal' });
  expect((await h.client.exec(neighbour, { argv: ['true'] })).exit.exitCode).toBe(0);
});
