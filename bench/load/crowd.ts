/** Many busy streams at once: what one stalled reader does to the others, and what they do to a small exec. */
import type { Sandbox } from '../../src/sdk/index.ts';
import { sleep } from '../../src/lib/deadline.ts';
import { ratio, Samples } from '../report/statistics.ts';
import { interleave } from './lanes.ts';
import { mustSucceed } from './sandboxes.ts';

const STREAMS = 200;
const SANDBOXES = 8;
const SETTLE_MS = 2_000;
const WINDOW_MS = 6_000;
const EXECS = 300;
const TRUE = ['/bin/true'];
/** More than any stream moves while it is watched. */
const ENDLESS = String(2 ** 44);

export interface Crowd {
  idle: Samples;
  among: Samples;
  /** Throughput of all but the stalled stream: with the stall, over without it. */
  othersVsBefore: number | null;
  setup: Record<string, number>;
}

/** @param make gives a sandbox in which `program BYTES` writes so many bytes. */
export async function measureCrowd(make: () => Promise<Sandbox>, program: string): Promise<Crowd> {
  const sandboxes = await Promise.all(Array.from({ length: SANDBOXES }, make));
  const quiet = await make();
  const measure = async (name: string): Promise<Samples> => {
    const samples = new Samples(name);
    await interleave(EXECS, [{ run: () => samples.time(() => mustSucceed(quiet.exec(TRUE))) }]);
    return samples;
  };
  await measure('warm-up');
  const idle = await measure('exec.idle');

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
  const among = await measure('exec.among-streams');
  await Promise.all(streams.map((stream) => stream.end()));
  return {
    idle,
    among,
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

  /** From now on nothing is taken. */
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
