/**
 * Large output and large files: throughput against local pipes and disks, memory, and the effect of a stalled reader on
 * others.
 */
import { spawn } from 'node:child_process';
import { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Sandbox } from '../../src/sdk/index.ts';
import { floodPieces, FloodCheck } from '../load/flood-pattern.ts';
import { PeakMemory } from '../load/memory.ts';
import { mustSucceed, Sandboxes } from '../load/sandboxes.ts';
import { SpawnServer } from '../load/spawn-loop.ts';
import { measureBusyStreams, type BusyStreams } from '../load/busy-streams.ts';
import { ratio, round, Samples } from '../report/statistics.ts';
import { failures, type Figures, type Outcome, type Scenario } from './scenario.ts';

const DEFAULT_MIB = 1024;
const ROUNDS = 3;
const MIB = 1024 * 1024;
const FLOOD_INSIDE = '/tmp/flood';

export const stream: Scenario = {
  name: 'stream',
  describe:
    'N MiB of stdout to the SDK against a local pipe, up and down as files, 200 streams with one stalled reader',
  pool: () => 10,

  async run(target, options): Promise<Outcome> {
    const bytes = (options.n ?? DEFAULT_MIB) * MIB;
    await using sandboxes = new Sandboxes(target.client, target.image);
    const sandbox = sandboxes.create({ memoryMb: 2048 });
    await installFlood(sandbox, options.binaries.flood);
    const directory = mkdtempSync(join(options.run.directory, 'stream-'));
    using _directory = { [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }) };
    const file = join(directory, 'flood');

    const rows = streamSamples();
    using memory = new PeakMemory([...(target.pids?.gateway ?? []), ...(target.pids?.agent ?? [])]);
    for (let i = 0; i < ROUNDS; i++) {
      options.progress(`stream: round ${i + 1} of ${ROUNDS}`);
      await rows.stdout.time(() => sdkStdout(sandbox, bytes));
      await rows.pipe.time(() => nodePipe(options.binaries.flood, bytes));
      await rows.upload.time(() => sandbox.files.writeStream('/tmp/big', Readable.from(floodPieces(bytes))));
      await rows.write.time(() => pipeline(Readable.from(floodPieces(bytes)), createWriteStream(file)));
      await rows.download.time(() => check(sandbox.files.readStream('/tmp/big'), bytes));
      await rows.read.time(() => check(createReadStream(file, { highWaterMark: 64 * 1024 }), bytes));
    }
    const growthMb = memory.growthMb;
    await sandboxes.delete(sandbox);

    options.progress('stream: 200 streams, one reader stalls');
    await using spawner = new SpawnServer(options.binaries.spawnLoop, options.binaries.true);
    const makeSandbox = async (): Promise<Sandbox> => {
      const each = sandboxes.create();
      await installFlood(each, options.binaries.flood);
      return each;
    };
    const busy = await measureBusyStreams(makeSandbox, FLOOD_INSIDE, spawner);
    return {
      setup: { mib: bytes / MIB, rounds: ROUNDS, ...busy.setup },
      ...streamFigures(rows, busy, bytes / MIB, target.pids === undefined ? null : growthMb),
    };
  },
};

export const streamSamples = () => ({
  stdout: new Samples('stdout.sdk'),
  pipe: new Samples('stdout.node-pipe'),
  upload: new Samples('file.upload'),
  write: new Samples('file.disk-write'),
  download: new Samples('file.download'),
  read: new Samples('file.disk-read'),
});

/** @param growthMb of the process that grew most; null when the server runs elsewhere. */
export function streamFigures(
  samples: ReturnType<typeof streamSamples>,
  busy: Omit<BusyStreams, 'setup'>,
  mib: number,
  growthMb: number | null,
): Figures {
  const { stdout, pipe, upload, write, download, read } = samples;
  const all = [...Object.values(samples), busy.idle, busy.among, busy.spawnIdle, busy.spawnAmong];
  const mibPerSec = (of: Samples): number => round((mib / of.p50) * 1000);
  return {
    rows: all.map((each) => each.row()),
    ratios: {
      // Times for the same number of bytes, hence the reciprocal: our throughput relative to theirs.
      streamVsNodePipe: ratio(pipe.p50, stdout.p50),
      rssGrowthMb: growthMb === null ? null : round(growthMb),
      uploadVsDisk: ratio(write.p50, upload.p50),
      downloadVsDisk: ratio(read.p50, download.p50),
      othersVsBefore: busy.othersVsBefore,
      execAmongStreamsP99VsIdle: ratio(busy.among.row().p99Ms, busy.idle.row().p99Ms),
      spawnAmongStreamsP99VsIdle: ratio(busy.spawnAmong.row().p99Ms, busy.spawnIdle.row().p99Ms),
      stdoutMibPerSec: mibPerSec(stdout),
      uploadMibPerSec: mibPerSec(upload),
      downloadMibPerSec: mibPerSec(download),
    },
    errors: failures(...all),
  };
}

async function installFlood(sandbox: Sandbox, file: string): Promise<void> {
  const install = `cat > ${FLOOD_INSIDE} && chmod 755 ${FLOOD_INSIDE}`;
  await mustSucceed(sandbox.exec(install, { stdin: readFileSync(file) }));
}

async function sdkStdout(sandbox: Sandbox, bytes: number): Promise<void> {
  const seen = new FloodCheck();
  for await (const event of sandbox.exec([FLOOD_INSIDE, String(bytes)], {
    encoding: 'bytes',
    lend: true,
    timeoutMs: 600_000,
  })) {
    if (event.type === 'stdout') seen.take(event.data);
    if (event.type === 'exit' && event.exitCode !== 0) throw new Error(`flood ended with ${event.exitCode}`);
  }
  complete(seen, bytes);
}

async function nodePipe(flood: string, bytes: number): Promise<void> {
  const child = spawn(flood, [String(bytes)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await check(child.stdout, bytes);
}

async function check(source: AsyncIterable<Uint8Array>, bytes: number): Promise<void> {
  const seen = new FloodCheck();
  for await (const chunk of source) seen.take(chunk);
  complete(seen, bytes);
}

function complete(seen: FloodCheck, bytes: number): void {
  if (seen.bytes !== bytes) throw new Error(`${seen.bytes} bytes came, not ${bytes}`);
}
