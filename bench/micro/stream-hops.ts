/**
 * The most that a stream of output can reach through three processes, before any of them does anything:
 * `node bench/micro/stream-hops.ts`. The supervisor, agent and gateway are bare relays of bytes here, connected as the
 * real ones are: two unix sockets, then TCP. Interleaved with the same program read from a pipe, so that the ratio is the
 * ceiling of `streamVsNodePipe` that the scenario `stream` measures.
 */
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { boxinitPath } from '../../src/cli/up/parts.ts';
import { ratio, round, Samples } from '../report/statistics.ts';

const ROUNDS = 5;
const MIB = 1024 * 1024;
const BYTES = 1024 * MIB;
/** As our own links read: into one buffer, over and over, and not into a new one for each read. */
const READ_BYTES = 256 * 1024;
const FLOOD = [join(dirname(boxinitPath()), 'flood'), String(BYTES)] as const;

/** The supervisor, as cheap as can be: the program itself writes into the socket of whoever connects. */
function source(near: net.Socket): void {
  const [file, ...args] = FLOOD;
  spawn(file, args, { stdio: ['ignore', near, 'inherit'] }).on('exit', () => near.destroy());
}

/** Passes on what comes from `next`, and reads no more while the reader of it is behind. */
function passOn(near: net.Socket, next: string): void {
  let behind = false;
  const far = net.connect({
    path: next,
    onread: {
      buffer: Buffer.allocUnsafe(READ_BYTES),
      callback: (length, buffer) => {
        behind = !near.write(Buffer.from(buffer.subarray(0, length)));
        return !behind;
      },
    },
  });
  near.on('drain', () => {
    if (behind) far.resume();
    behind = false;
  });
  far.on('error', () => near.destroy()).on('close', () => near.end());
  near.on('close', () => far.destroy());
}

function relay(listen: string, next: string | undefined): void {
  const server = net.createServer((near) => {
    near.on('error', () => near.destroy());
    if (next === undefined) source(near);
    else passOn(near, next);
  });
  const where = listen === 'tcp' ? { port: 0, host: '127.0.0.1' } : { path: listen };
  server.listen(where, () => process.send?.(server.address()));
  process.on('disconnect', () => process.exit());
}

class Chain implements Disposable {
  readonly #children: ChildProcess[] = [];

  /** Resolves with where the relay listens. */
  async add(...words: string[]): Promise<unknown> {
    const child = fork(import.meta.filename, ['relay', ...words]);
    this.#children.push(child);
    const [address] = (await once(child, 'message')) as [unknown];
    return address;
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill();
  }
}

async function throughRelays(port: number): Promise<void> {
  let bytes = 0;
  const socket = net.connect({
    port,
    host: '127.0.0.1',
    onread: {
      buffer: Buffer.allocUnsafe(READ_BYTES),
      callback: (length) => {
        bytes += length;
        return true;
      },
    },
  });
  await once(socket, 'close');
  if (bytes !== BYTES) throw new Error(`${bytes} bytes of ${BYTES} came through the relays`);
}

async function throughPipe(): Promise<void> {
  const [file, ...args] = FLOOD;
  let bytes = 0;
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
  await once(child, 'close');
  if (bytes !== BYTES) throw new Error(`${bytes} bytes of ${BYTES} came through the pipe`);
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'millibox-stream-hops-'));
  const [agent, supervisor] = [join(directory, 'agent'), join(directory, 'supervisor')];
  try {
    using chain = new Chain();
    await chain.add(supervisor);
    await chain.add(agent, supervisor);
    const { port } = (await chain.add('tcp', agent)) as net.AddressInfo;
    await throughRelays(port);
    const relays = new Samples('relays');
    const pipe = new Samples('node-pipe');
    for (let i = 0; i < ROUNDS; i++) {
      await relays.time(() => throughRelays(port));
      await pipe.time(() => throughPipe());
    }
    const report = {
      rows: [relays.row(), pipe.row()],
      relaysMibPerSec: round((BYTES / MIB / relays.p50) * 1000),
      ratios: { mostStreamVsNodePipe: ratio(pipe.p50, relays.p50) },
    };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const [what, listen = '', next] = process.argv.slice(2);
if (what === 'relay') relay(listen, next);
else await main();
