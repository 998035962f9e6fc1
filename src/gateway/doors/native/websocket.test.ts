import { once } from 'node:events';
import { afterEach, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { UpgradeRefused, dialWs } from '../../../mux/index.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import { Channel, encodeFrame, FrameType } from '../../../protocol/frames.ts';
import { sendBytes } from '../../streams/send.ts';
import { openClientStream } from '../../testing/client-stream.ts';
import { FakeNode } from '../../testing/fake-node.ts';
import { OTHER_KEY, TestGateway } from '../../testing/harness.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

const exec = (sandbox: string, script: object, more: object = {}) => ({
  op: 'exec',
  sandbox,
  command: JSON.stringify(script),
  ...more,
});

test('an exec stream: opened, output, exit, end; the end acknowledges the exit', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const client = openClientStream(mux, exec(id, { stdout: 'out', stderr: 'err', exit: 3 }, { id: 'exe-mine' }));
  expect(await client.opened).toMatchObject({ execId: 'exe-mine', pid: 1 });
  expect(await client.event('exit')).toMatchObject({ exitCode: 3, stdoutBytes: 3 });
  expect(await client.closed).toBeNull();
  expect([client.text(Channel.STDOUT), client.text(Channel.STDERR)]).toEqual(['out', 'err']);
  await gateway.until('it is acknowledged', () => gateway.node.execs.acknowledged.includes('exe-mine'));
});

test('frames sent right after the open, before there is a node, arrive complete and in order', async () => {
  const node = new FakeNode();
  node.offline = true;
  gateway = await TestGateway.start([node], { defaultImage: 'image' });
  const { json } = await gateway.ask('POST', '/v1/sandboxes', { body: {} });
  const locate = vi.spyOn(gateway.services.sandboxes, 'locate');
  const mux = await gateway.ws();
  const client = openClientStream(mux, exec(json.id, { cat: true, exit: 2 }, { stdin: true }));
  client.stream.urgent({ type: 'resize', cols: 100, rows: 50 });
  const stdin = Buffer.alloc(600_000, 'abcdefg');
  const sent = sendBytes(client.stream, Channel.STDIN, stdin).then(() => client.stream.fin(Channel.STDIN));
  await gateway.until('it waits in line', () => locate.mock.calls.length > 0);
  node.offline = false;
  await sent;
  expect(await client.event('exit')).toMatchObject({ exitCode: 2 });
  await client.closed;
  expect(client.text(Channel.STDOUT) === stdin.toString()).toBe(true);
  expect(node.execs.signals).toEqual([{ type: 'resize', cols: 100, rows: 50 }]);
  expect((await client.opened)['queueMs']).toBeGreaterThan(0);
});

test('a client that does not read stops its own stream and no other', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const stalled = openClientStream(mux, exec(id, { stdout: 'x', repeat: 8_000_000 }), { take: false });
  await stalled.opened;
  for (let i = 0; i < 20; i++) {
    const client = openClientStream(mux, exec(id, { stdout: 'y', repeat: 500_000, exit: i }));
    expect(await client.event('exit')).toMatchObject({ exitCode: i });
    await client.closed;
    expect(client.bytes).toBe(500_000);
  }
  // A window, and what the queues of the hop hold: not the eight megabytes.
  expect(stalled.bytes).toBeLessThanOrEqual(256 * 1024);
  expect(stalled.events).toEqual([]);
  stalled.stream.reset(new ServiceError('cancelled'));
});

test('a client that goes away is detached from its command, which runs on; any client can attach to it', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const first = await gateway.ws();
  const client = openClientStream(first, exec(id, { hang: true, stdout: 'before ' }, { id: 'exe-kept' }));
  await client.opened;
  await gateway.until('output has come', () => client.bytes === 7);
  first.close();
  await gateway.until('it is detached', () => node.execs.all.get('exe-kept')?.stream === null);
  expect(node.execs.all.get('exe-kept')?.killed).toBe(false);
  node.execs.say('exe-kept', 'meanwhile ');
  await using second = await TestGateway.start([node]);
  const mux = await second.ws();
  const again = openClientStream(mux, { op: 'attach', sandbox: id, id: 'exe-kept', stdout: 7, stderr: 0 });
  await again.opened;
  node.execs.finish('exe-kept', 6);
  expect(await again.event('exit')).toMatchObject({ exitCode: 6 });
  expect(again.text(Channel.STDOUT)).toBe('meanwhile ');
});

test('signals and kills reach the command', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const client = openClientStream(mux, exec(id, { hang: true }));
  await client.opened;
  client.stream.urgent({ type: 'signal', signal: 'USR1' });
  client.stream.urgent({ type: 'kill' });
  expect(await client.event('exit')).toMatchObject({ exitCode: 137, signal: 'KILL' });
  expect(gateway.node.execs.signals).toEqual([{ type: 'signal', signal: 'USR1' }]);
});

test('a cut node link ends its streams as interrupted, and an attach waits for its return', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const client = openClientStream(mux, exec(id, { hang: true }, { id: 'exe-cut' }));
  await client.opened;
  node.vanish();
  expect((await client.closed)?.code).toBe('interrupted');
  const again = openClientStream(mux, { op: 'attach', sandbox: id, id: 'exe-cut' });
  node.offline = false;
  await again.opened;
  node.execs.finish('exe-cut', 1);
  expect(await again.event('exit')).toMatchObject({ exitCode: 1 });
});

test('files, ports and events use the same socket', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const write = openClientStream(mux, { op: 'file', sandbox: id, call: 'write', path: '/f' });
  await write.opened;
  await sendBytes(write.stream, Channel.BYTES, Buffer.alloc(1_000_000, 'f'));
  write.stream.fin(Channel.BYTES);
  expect(await write.event('done')).toMatchObject({ stat: { sizeBytes: 1_000_000 } });
  const port = openClientStream(mux, { op: 'port', sandbox: id, port: 80 });
  await port.opened;
  void port.stream.write(Channel.BYTES, Buffer.from('ping'));
  await gateway.until('it comes back', () => port.text(Channel.BYTES) === 'ping');
  port.stream.end();
  expect(await port.closed).toBeNull();
  const events = openClientStream(mux, { op: 'events', sandbox: id });
  await events.opened;
  await gateway.sandbox();
  await gateway.ask('DELETE', `/v1/sandboxes/${id}`);
  expect(await events.event('sandbox')).toMatchObject({ sandbox: { id, status: 'TERMINATED' } });
  expect(events.events.length).toBe(1);
});

test.each([
  [{}, 'invalid_request'],
  [{ op: 'surprise' }, 'invalid_request'],
  [{ op: 'exec' }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'SB', command: 'a', argv: ['b'] }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'SB' }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'SB', command: 'a', extra: 1 }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'SB', command: 'a', id: '../../etc' }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'SB', command: 'a', pty: { cols: 0, rows: -5 } }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'SB', command: 'a', timeoutMs: -1 }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'SB', command: 'a', ringBytes: 1e12 }, 'invalid_request'],
  [{ op: 'exec', sandbox: 'nope', command: 'a' }, 'sandbox_not_found'],
  [{ op: 'attach', sandbox: 'SB', id: 'exe-none' }, 'exec_not_found'],
  [{ op: 'attach', sandbox: 'SB' }, 'invalid_request'],
  [{ op: 'attach', sandbox: 'SB', id: 'exe-none', stdout: -1 }, 'invalid_request'],
  [{ op: 'file', sandbox: 'SB', call: 'read', path: '' }, 'invalid_request'],
  [{ op: 'file', sandbox: 'SB', call: 'eat', path: '/' }, 'invalid_request'],
  [{ op: 'file', sandbox: 5, call: 'read', path: '/' }, 'invalid_request'],
  [{ op: 'port', sandbox: 'SB', port: 0 }, 'invalid_request'],
  [{ op: 'port', sandbox: 'SB', port: 70_000 }, 'invalid_request'],
  [{ op: 'events', sandbox: 'nope' }, 'sandbox_not_found'],
  [{ op: 'create', spec: {} }, 'invalid_request'],
  [{ op: 'drain', on: true }, 'invalid_request'],
])('open %j is refused with %s, and the socket stays open', async (request, code) => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const wanted = JSON.parse(JSON.stringify(request).replaceAll('"SB"', JSON.stringify(id))) as Record<string, unknown>;
  expect((await openClientStream(mux, wanted).closed)?.code).toBe(code);
  const client = openClientStream(mux, exec(id, { exit: 1 }));
  expect(await client.event('exit')).toMatchObject({ exitCode: 1 });
});

test('sandboxes of other tenants do not exist on a socket', async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws({ key: OTHER_KEY });
  for (const request of [
    exec(id, {}),
    { op: 'port', sandbox: id, port: 1 },
    { op: 'file', sandbox: id, call: 'stat', path: '/' },
  ]) {
    expect((await openClientStream(mux, request).closed)?.code).toBe('sandbox_not_found');
  }
  const events = openClientStream(mux, { op: 'events' });
  await events.opened;
  await gateway.sandbox();
  expect(events.events).toEqual([]);
});

test('without a key, with a wrong one, or without the subprotocol the upgrade is refused', async () => {
  gateway = await TestGateway.start();
  const url = `${gateway.url.replace('http', 'ws')}/v1/ws`;
  const dial = (headers: Record<string, string>, subprotocol = 'millibox.v1') =>
    dialWs(url, { subprotocol, headers, deadlineMs: 20_000 }).catch((error: unknown) => error);
  for (const headers of [{}, { authorization: 'Bearer wrong' }] as Record<string, string>[]) {
    const error = await dial(headers);
    expect(error).toBeInstanceOf(UpgradeRefused);
    expect((error as UpgradeRefused).status).toBe(401);
    expect(JSON.parse((error as UpgradeRefused).body).error.code).toBe('unauthenticated');
  }
  const other = await dial({ authorization: 'Bearer key-of-the-tests' }, 'other.v1');
  expect((other as UpgradeRefused).status).toBe(400);
  const lost = await dialWs(url.replace('/v1/ws', '/nowhere'), {
    subprotocol: 'millibox.v1',
    deadlineMs: 20_000,
  }).catch((error: unknown) => error);
  expect((lost as UpgradeRefused).status).toBe(404);
});

test.each([
  ['text', 'hello'],
  ['bytes', Buffer.alloc(1000, 0xff)],
  ['a frame that announces 4 GiB', Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255])],
  ['nothing but noughts', Buffer.alloc(100)],
])('a socket that sends %s is closed, and nobody else notices', async (_what, rubbish) => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const mux = await gateway.ws();
  const bystander = openClientStream(mux, exec(id, { hang: true }, { id: 'exe-other' }));
  await bystander.opened;
  const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`, ['millibox.v1'], {
    headers: { authorization: 'Bearer key-of-the-tests' },
  });
  ws.on('error', () => undefined);
  await once(ws, 'open');
  const closed = once(ws, 'close');
  ws.send(rubbish);
  const [code] = (await closed) as [number];
  expect([1003, 1008]).toContain(code);
  gateway.node.execs.finish('exe-other', 8);
  expect(await bystander.event('exit')).toMatchObject({ exitCode: 8 });
});

test('an events client that does not read gets the newest states once it does, and its backlog stays small', async () => {
  gateway = await TestGateway.start();
  const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`, ['millibox.v1'], {
    headers: { authorization: 'Bearer key-of-the-tests' },
  });
  ws.on('error', () => undefined);
  await once(ws, 'open');
  const say = (type: number, stream: number, body: object): void =>
    ws.send(encodeFrame({ type, flags: 0, channel: 0, stream, payload: Buffer.from(JSON.stringify(body)) }));
  const subscribe = vi.spyOn(gateway.services.sandboxes, 'subscribe');
  ws.pause();
  say(FrameType.HELLO, 0, { generation: 1 });
  const streams = 64;
  for (let i = 0; i < streams; i++) say(FrameType.OPEN, 2 * i + 1, { op: 'events' });
  await gateway.until('all are open', () => subscribe.mock.calls.length === streams);
  const labels = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`label-${i}`, 'x'.repeat(256)]));
  for (let i = 0; i < 16; i++) await gateway.sandbox({ labels });
  const RUNNING = '"status":"RUNNING"';
  let bytes = 0;
  let running = 0;
  let tail = '';
  ws.on('message', (message: Buffer) => {
    bytes += message.length;
    const parts = (tail + message.toString('latin1')).split(RUNNING);
    running += parts.length - 1;
    tail = parts.at(-1)?.slice(-RUNNING.length) ?? '';
  });
  ws.resume();
  await gateway.until('each of its streams has told of all', () => running >= streams * 16);
  // All states of all sandboxes would be more than 60 MiB.
  expect(bytes).toBeLessThan(40 * 1024 * 1024);
  ws.terminate();
});
