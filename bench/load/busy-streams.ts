/** Many busy streams at once: how one stalled reader affects the others, and how they affect a small exec. */
import type { Sandbox } from '../../src/sdk/index.ts';
import { sleep } from '../../src/lib/deadline.ts';
import { ratio, Samples } from '../report/statistics.ts';
import { interleave } from './concurrency.ts';
import { mustSucceed } from './sandboxes.ts';
import type { SpawnServer } from './spawn-loop.ts';

const STREAMS = 200;
const SANDBOXES = 8;
const SETTLE_MS = 2_000;
const WINDOW_MS = 6_000;
const EXECS = 300;
const TRUE = ['/bin/true'];
/** More than any stream transfers while it is observed. */
const ENDLESS = String(2 ** 44);

export interface BusyStreams {
  idle: Samples;
  among: Samples;
  /** Native spawns in turn with the execs: how the streams affect any program that starts. */
  spawnIdle: Samples;
  spawnAmong: Samples;
  /** Throughput of all streams but the stalled one: during the stall, relative to before it. */
  othersVsBefore: number | null;
  setup: Record<string, number>;
}

/** @param make returns a sandbox in which `program BYTES` writes that many bytes. */
export async function measureBusyStreams(
  make: () => Promise<Sandbox>,
  program: string,
  spawner: SpawnServer,
): Promise<BusyStreams> {
  const sandboxes = await Promise.all(Array.from({ length: SANDBOXES }, make));
  const quiet = await make();
  const measure = async (when: string): Promise<[exec: Samples, spawn: Samples]> => {
    const exec = new Samples(`exec.${when}`);
    const spawn = new Samples(`posix_spawn.${when}`);
    await interleave(EXECS, [
      { run: () => exec.time(() => mustSucceed(quiet.exec(TRUE))) },
      { run: async () => spawn.add(await spawner.once()) },
    ]);
    return [exec, spawn];
  };
  await measure('warm-up');
  const [idle, spawnIdle] = await measure('idle');

  const streams = Array.from(
    { length: STREAMS },
    (_, i) => new BusyStream(sandboxes[i % SANDBOXES] as Sandbox, program),
  );
  const others = streams.slice(1);
  const throughput = async (): Promise<number> => {
    await sleep(SETTLE_MS);
    const before = others.reduce((sum, stream) => sum + stream.bytes, 0);
    const start = performance.now();
    await sleep(WINDOW_MS);
    return (others.reduce((sum, stream) => sum + stream.bytes, 0) - before) / (performance.now() - start);
  };
  const free = await throughput();
  streams[0]?.stall();
  const stalled = await throughput();
  const [among, spawnAmong] = await measure('among-streams');
  await Promise.all(streams.map((stream) => stream.end()));
  return {
    idle,
    among,
    spawnIdle,
    spawnAmong,
    othersVsBefore: ratio(stalled, free),
    setup: { streams: STREAMS, streamsMibPerSec: Math.round((free * 1000) / 1024 / 1024) },
  };
}

class BusyStream {
  bytes = 0;
  readonly #gate = Promise.withResolvers<void>();
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  #stalled = false;

  constructor(sandbox: Sandbox, program: string) {
    this.#done = this.#read(sandbox, program).catch(() => undefined);
  }

  /** Takes nothing from now on. */
  stall(): void {
    this.#stalled = true;
  }

  async end(): Promise<void> {
    this.#stop.abort(new Error('measured'));
    this.#gate.resolve();
    await this.#done;
  }

  async #read(sandbox: Sandbox, program: string): Promise<void> {
    const exec = sandbox.exec([program, ENDLESS], {
      encoding: 'bytes',
      lend: true,
      signal: this.#stop.signal,
    });
    for await (const event of exec) {
      if (event.type === 'stdout') this.bytes += event.data.length;
      if (this.#stalled) await this.#gate.promise;
    }
  }
}
