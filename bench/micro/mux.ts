/**
 * The cost of the multiplexer: `node bench/micro/mux.ts [memory|unix|ws|pipe ...]`. A child process produces, this one
 * consumes; `memory` has both in one. For each: bulk throughput of one stream, CPU time of both sides per GiB, and the
 * time of OPEN, OPENED, DATA, EVENT, FIN on an idle link.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Channel } from '../../src/protocol/frames.ts';
import {
  acceptWs,
  createMux,
  dialWs,
  memoryPair,
  socketTransport,
  type Mux,
  type MuxStream,
  type StreamHandler,
  type Transport,
} from '../../src/mux/index.ts';

const GIB = 1024 ** 3;
const BULK_BYTES = 1 * GIB;
const BLOCK_BYTES = 64 * 1024;
const ROUND_TRIPS = 3_000;

/** The producing side: `bulk` streams that many bytes, anything else answers at once. */
function produce(stream: MuxStream): StreamHandler {
  if (stream.request['op'] === 'cpu') {
    const { user, system } = process.cpuUsage();
    stream.accept({ ms: (user + system) / 1000 });
    stream.end();
    return {};
  }
  const total = Number(stream.request['bytes']);
  stream.accept();
  if (total === 0) {
    void stream.write(Channel.STDOUT, Buffer.from('ok\n'));
    stream.event({ type: 'exit', exitCode: 0 });
    stream.end();
    return {};
  }
  void pump(stream, total);
  return {};
}

async function pump(stream: MuxStream, total: number): Promise<void> {
  const block = Buffer.alloc(BLOCK_BYTES, 120);
  for (let sent = 0; sent < total && !stream.closed; sent += block.length) {
    const drained = stream.write(Channel.STDOUT, block);
    if (drained !== undefined) await drained;
  }
  stream.end();
}

const greet = { hello: { generation: 1 }, onHello: (): void => undefined };
const serve = (transport: Transport): Mux => createMux({ ...greet, transport, role: 'listener', onOpen: produce });
const dial = (transport: Transport): Mux => createMux({ ...greet, transport, role: 'dialler' });

function call(mux: Mux, request: Record<string, unknown>): Promise<{ bytes: number; answer: Record<string, unknown> }> {
  const done = Promise.withResolvers<{ bytes: number; answer: Record<string, unknown> }>();
  let bytes = 0;
  let answer: Record<string, unknown> = {};
  const stream: MuxStream = mux.open(request, {
    opened: (a) => (answer = a),
    data: (_channel, chunk) => {
      bytes += chunk.length;
      stream.consume(chunk.length);
    },
    fin: () => stream.end(),
    closed: (error) => (error === null ? done.resolve({ bytes, answer }) : done.reject(error)),
  });
  return done.promise;
}

async function measure(name: string, mux: Mux): Promise<object> {
  const cpuOfPeer = async (): Promise<number> => Number((await call(mux, { op: 'cpu' })).answer['ms']);
  await call(mux, { bytes: BULK_BYTES / 8 });
  const peerBefore = await cpuOfPeer();
  const cpuBefore = process.cpuUsage();
  const t0 = performance.now();
  const { bytes } = await call(mux, { bytes: BULK_BYTES });
  const seconds = (performance.now() - t0) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const peerMs = (await cpuOfPeer()) - peerBefore;
  if (bytes !== BULK_BYTES) throw new Error(`${bytes} bytes came`);
  const times: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const t = performance.now();
    await call(mux, { bytes: 0 });
    times.push(performance.now() - t);
  }
  times.sort((a, b) => a - b);
  return {
    name,
    'MB/s': Math.round(bytes / 1e6 / seconds),
    'receiver cpu ms/GiB': Math.round((cpu.user + cpu.system) / 1000),
    'sender cpu ms/GiB': Math.round(peerMs),
    'call p50 µs': Math.round(times[ROUND_TRIPS >> 1]! * 1000),
    'call p99 µs': Math.round(times[Math.floor(ROUND_TRIPS * 0.99)]! * 1000),
  };
}

async function pipe(): Promise<object> {
  const child = spawn(process.execPath, [import.meta.filename, '--pipe'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let bytes = 0;
  let t0 = 0;
  const cpuBefore = process.cpuUsage();
  child.stdout.on('data', (chunk: Buffer) => {
    if (t0 === 0) t0 = performance.now();
    bytes += chunk.length;
  });
  await once(child.stdout, 'end');
  const cpu = process.cpuUsage(cpuBefore);
  return {
    name: 'pipe',
    'MB/s': Math.round(bytes / 1e3 / (performance.now() - t0)),
    'receiver cpu ms/GiB': Math.round((cpu.user + cpu.system) / 1000),
  };
}

async function child(mode: string): Promise<{ child: ChildProcess; address: string }> {
  const started = spawn(process.execPath, [import.meta.filename, `--${mode}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(started.stdout, 'data')) as [Buffer];
  return { child: started, address: line.toString().trim() };
}

async function run(name: string): Promise<object> {
  if (name === 'pipe') return await pipe();
  if (name === 'memory') {
    const { a, b } = memoryPair();
    serve(b);
    return await measure(name, dial(a));
  }
  const { child: producer, address } = await child(name);
  try {
    let mux: Mux;
    if (name === 'unix') {
      const socket = net.connect(address);
      await once(socket, 'connect');
      mux = dial(socketTransport(socket));
    } else {
      mux = dial(await dialWs(address, { subprotocol: 'bench', deadlineMs: 10_000, maskWithZeros: true }));
    }
    const row = await measure(name, mux);
    mux.close();
    return row;
  } finally {
    producer.kill();
  }
}

async function main(args: string[]): Promise<void> {
  if (args[0] === '--pipe') {
    const block = Buffer.alloc(BLOCK_BYTES, 120);
    for (let sent = 0; sent < BULK_BYTES; sent += block.length) {
      if (!process.stdout.write(block)) await once(process.stdout, 'drain');
    }
    return;
  }
  if (args[0] === '--unix') {
    const file = path.join(tmpdir(), `mux-bench-${process.pid}.sock`);
    const server = net.createServer((socket) => serve(socketTransport(socket))).listen(file);
    await once(server, 'listening');
    process.on('SIGTERM', () => {
      rmSync(file, { force: true });
      process.exit(0);
    });
    process.stdout.write(`${file}\n`);
    return;
  }
  if (args[0] === '--ws') {
    const server = http.createServer();
    server.on('upgrade', (request, socket, head) => serve(acceptWs(request, socket, head, 'bench')));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    process.stdout.write(`ws://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
    return;
  }
  const rows: object[] = [];
  for (const name of args.length > 0 ? args : ['pipe', 'memory', 'unix', 'ws']) rows.push(await run(name));
  console.table(rows);
}

await main(process.argv.slice(2));
