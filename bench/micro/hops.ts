/**
 * The minimum cost of three processes between a caller and a command, before any of them does anything: `node
 * bench/micro/hops.ts`. Client, gateway, agent and supervisor are bare byte relays here, connected as the real ones
 * are: TCP, then two unix sockets. Interleaved with native spawns of the same machine, so that the ratios are the floor
 * of `execVsPosixSpawn` and the ceiling of `throughputVsPosixSpawn` that the scenario `exec` measures.
 */
import { once } from 'node:events';
import net from 'node:net';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { boxinitPath } from '../../src/cli/up/parts.ts';
import { SpawnServer, spawnLoopRate } from '../load/spawn-loop.ts';
import { ratio, round, Samples } from '../report/statistics.ts';
import { RelayChain, runAsRelay } from './relay-chain.ts';

const ROUNDS = 2_000;
const WARM_UP = 300;
const LANES = 64;
const LOOP_MS = 3_000;
const SPAWNS = 6_000;
/** About the size of a command with its header, and of its answer. */
const MESSAGE = Buffer.alloc(240, 'm');

const binary = (name: string): string => join(dirname(boxinitPath()), name);

/** Passes bytes on, or back if it is the last in the chain. */
function relay(near: net.Socket, next: string | undefined): void {
  if (next === undefined) return void near.on('data', (chunk) => near.write(chunk));
  const far = net.connect(next);
  far.on('error', () => near.destroy());
  near.on('data', (chunk) => far.write(chunk)).on('close', () => far.destroy());
  far.on('data', (chunk) => near.write(chunk)).on('close', () => near.destroy());
}

class Caller {
  readonly #socket: net.Socket;
  #got = 0;
  #waiting: { until: number; resolve: () => void }[] = [];
  #sent = 0;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.#got += chunk.length;
      while (this.#waiting[0] !== undefined && this.#waiting[0].until <= this.#got) this.#waiting.shift()?.resolve();
    });
  }

  call(): Promise<void> {
    this.#sent += MESSAGE.length;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ until: this.#sent, resolve });
    this.#socket.write(MESSAGE);
    return promise;
  }
}

async function main(): Promise<void> {
  const [program, loop] = [binary('millibox-true'), binary('spawn-loop')];
  using chain = await RelayChain.start(import.meta.filename);
  await using spawner = new SpawnServer(loop, program);
  const socket = net.connect(chain.port, '127.0.0.1');
  await once(socket, 'connect');
  const caller = new Caller(socket);
  for (let i = 0; i < WARM_UP; i++) {
    await caller.call();
    await spawner.once();
  }
  const hops = new Samples('hops');
  const spawn = new Samples('posix_spawn');
  for (let i = 0; i < ROUNDS; i++) {
    await hops.time(() => caller.call());
    spawn.add(await spawner.once());
  }
  const until = performance.now() + LOOP_MS;
  let calls = 0;
  const lane = async (): Promise<void> => {
    for (; performance.now() < until; calls++) await caller.call();
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const callsPerSec = (calls / LOOP_MS) * 1000;
  const spawnsPerSec = await spawnLoopRate(loop, program, availableParallelism(), SPAWNS);
  socket.destroy();
  const report = {
    rows: [hops.row(), spawn.row()],
    callsPerSec: round(callsPerSec),
    spawnsPerSec: round(spawnsPerSec),
    // Both keep all CPUs busy: the costs of one of each add up.
    ratios: {
      leastExecVsPosixSpawn: ratio(hops.p50 + spawn.p50, spawn.p50),
      mostThroughputVsPosixSpawn: ratio(1 / (1 / callsPerSec + 1 / spawnsPerSec), spawnsPerSec),
    },
  };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
}

if (!runAsRelay(relay)) await main();
