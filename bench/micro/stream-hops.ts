/**
 * The maximum throughput of a stream of output through three processes, before any of them does anything: `node
 * bench/micro/stream-hops.ts`. The supervisor, agent and gateway are bare byte relays here, connected as the real ones
 * are: two unix sockets, then TCP. Interleaved with the same program read from a pipe, so that the ratio is the ceiling
 * of `streamVsNodePipe` that the scenario `stream` measures.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { boxinitPath } from '../../src/cli/up/parts.ts';
import { ratio, round, Samples } from '../report/statistics.ts';
import { RelayChain, runAsRelay } from './relay-chain.ts';

const ROUNDS = 5;
const MIB = 1024 * 1024;
const BYTES = 1024 * MIB;
/** Reads as our own links do: into one reused buffer, not a new one per read. */
const READ_BYTES = 256 * 1024;
const FLOOD = [join(dirname(boxinitPath()), 'flood'), String(BYTES)] as const;

/** The cheapest possible supervisor: the program itself writes into the socket of whoever connects. */
function source(near: net.Socket): void {
  const [file, ...args] = FLOOD;
  spawn(file, args, { stdio: ['ignore', near, 'inherit'] }).on('exit', () => near.destroy());
}

/** Passes on bytes from `next`, and stops reading while its own reader is behind. */
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

function relay(near: net.Socket, next: string | undefined): void {
  if (next === undefined) source(near);
  else passOn(near, next);
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
  using chain = await RelayChain.start(import.meta.filename);
  await throughRelays(chain.port);
  const relays = new Samples('relays');
  const pipe = new Samples('node-pipe');
  for (let i = 0; i < ROUNDS; i++) {
    await relays.time(() => throughRelays(chain.port));
    await pipe.time(() => throughPipe());
  }
  const report = {
    rows: [relays.row(), pipe.row()],
    relaysMibPerSec: round((BYTES / MIB / relays.p50) * 1000),
    ratios: { mostStreamVsNodePipe: ratio(pipe.p50, relays.p50) },
  };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
}

if (!runAsRelay(relay)) await main();
