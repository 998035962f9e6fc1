import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freePort } from '../../../../test/helpers/ports.ts';
import { isFree } from '../../../cli/up/ports.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import { TcpPorts, type ConnectInside, type TcpPort } from './tcp-ports.ts';

const HOST = '127.0.0.1';
let inside: Server;
let opened: TcpPort[] = [];
let sockets: Socket[] = [];

/** The server in the sandbox: it answers once it has received everything. */
beforeEach(async () => {
  inside = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    void text(socket).then(
      (heard) => socket.end(`heard ${heard}`),
      () => undefined,
    );
  }).listen(0, HOST);
  await once(inside, 'listening');
});
afterEach(async () => {
  for (const each of opened) each.close();
  for (const socket of sockets) socket.destroy();
  [opened, sockets] = [[], []];
  inside.close();
  await once(inside, 'close');
});

async function connectInside(): Promise<Socket> {
  const { port } = inside.address() as { port: number };
  const socket = connect({ port, host: HOST, allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

async function open(ports: TcpPorts, how: ConnectInside = connectInside): Promise<number> {
  const made = await ports.open(how);
  opened.push(made);
  return made.port;
}

async function through(port: number): Promise<Socket> {
  const socket = connect({ port, host: HOST, allowHalfOpen: true });
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** How a connection ended: the code of its error, unless it ended normally. */
async function endOf(socket: Socket): Promise<string> {
  const end = Promise.withResolvers<string>();
  socket.once('error', (error: NodeJS.ErrnoException) => end.resolve(error.code ?? error.message));
  socket.once('end', () => end.resolve('end'));
  socket.resume();
  return await end.promise;
}

/** The first of two adjacent free ports. */
async function freePair(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (await isFree(port + 1, HOST)) return port;
  }
}

const only = (port: number): TcpPorts => new TcpPorts(HOST, { first: port, last: port });

test('bytes go both ways, and one direction can end before the other', async () => {
  const socket = await through(await open(only(await freePort())));
  socket.end('hello');
  expect(await text(socket)).toBe('heard hello');
});

test('if nothing listens inside, the connection is reset', async () => {
  const port = await open(only(await freePort()), () => Promise.reject(new ServiceError('port_refused')));
  const socket = connect({ port, host: HOST });
  sockets.push(socket);
  expect(await endOf(socket)).toBe('ECONNRESET');
});

test('a connection that is cut inside does not look like a normal end', async () => {
  let its: Socket | undefined;
  const port = await open(only(await freePort()), async () => (its = await connectInside()));
  const socket = await through(port);
  socket.write('some');
  await expect.poll(() => its).toBeDefined();
  await setImmediate();
  its?.destroy(new Error('the link was cut'));
  expect(await endOf(socket)).toBe('ECONNRESET');
});

test('a connection whose client leaves before it is connected inside leaves nothing behind', async () => {
  const [asked, goOn] = [Promise.withResolvers<AbortSignal>(), Promise.withResolvers<void>()];
  let its: Socket | undefined;
  const port = await open(only(await freePort()), async (signal) => {
    asked.resolve(signal);
    await goOn.promise;
    return (its = await connectInside());
  });
  (await through(port)).resetAndDestroy();
  await expect.poll(async () => (await asked.promise).aborted).toBe(true);
  goOn.resolve();
  await expect.poll(() => its?.destroyed).toBe(true);
});

test('closing cuts existing connections, and the port is free again', async () => {
  const port = await freePort();
  const ports = only(port);
  await open(ports);
  const socket = await through(port);
  opened[0]?.close();
  expect(await endOf(socket)).toBe('ECONNRESET');
  await expect.poll(() => isFree(port, HOST)).toBe(true);
  expect(await open(ports)).toBe(port);
});

test('ports are taken in turn, skipping those in use by others; when none is left the error says so', async () => {
  const first = await freePair();
  const ports = new TcpPorts(HOST, { first, last: first + 1 });
  expect(await open(ports)).toBe(first);
  opened[0]?.close();
  expect(await open(ports)).toBe(first + 1);
  await expect.poll(() => isFree(first, HOST)).toBe(true);
  const other = createServer().listen(first, HOST);
  await once(other, 'listening');
  await expect(ports.open(connectInside)).rejects.toMatchObject({ code: 'capacity_exhausted' });
  other.close();
});
