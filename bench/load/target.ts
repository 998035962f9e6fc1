/** The server under test: an existing one, or one started for this run with its own home. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Millibox } from '../../src/sdk/index.ts';
import { withDeadline } from '../../src/lib/deadline.ts';
import { removeAll } from '../../src/lib/remove-all.ts';
import { Operator } from '../../src/cli/io/operator.ts';
import { apiKey, environment } from '../config.ts';
import type { BenchRun } from './run.ts';
import type { Target } from '../scenarios/scenario.ts';

const UP_LIMIT_MS = 180_000;
const STOP_LIMIT_MS = 120_000;

export interface TargetOptions {
  run: BenchRun;
  root: string;
  pool: number;
  url: string | undefined;
  runtime: string | undefined;
  image: string | undefined;
  progress: (line: string) => void;
  env: Record<string, string>;
}

/** The output of `millibox up --json` once it is up. */
interface UpLine {
  url: string;
  apiKey: string;
  runtime: string;
  image: string;
  pids: { gateway: number; agents: number[] };
}

export type StartedTarget = Target & AsyncDisposable;

export async function startTarget(options: TargetOptions): Promise<StartedTarget> {
  if (options.url !== undefined) return await remoteTarget(options.url, options);
  await setUp(options.root, options.progress);

  const home = mkdtempSync(join(options.run.directory, 'home-'));
  const child = startUp(options, home);
  try {
    const up = await withDeadline({ deadlineMs: UP_LIMIT_MS, what: 'starting the server' }, () => firstLine(child));
    const client = new Millibox({ url: up.url, apiKey: up.apiKey });
    return {
      url: up.url,
      apiKey: up.apiKey,
      client,
      operator: new Operator(up),
      runtime: up.runtime,
      image: options.image ?? up.image,
      pids: { gateway: [up.pids.gateway], agent: up.pids.agents },
      [Symbol.asyncDispose]: async () => {
        await client.close();
        await stop(child, home, options.run);
      },
    };
  } catch (error) {
    await stop(child, home, options.run);
    throw error;
  }
}

/**
 * Installs what a server needs on this machine: steps that are already done do nothing. Their progress goes to stderr.
 * @throws Error when one of them fails, which has then printed the reason
 */
export async function setUp(root: string, progress: (line: string) => void): Promise<void> {
  progress('bench: set-up');
  const child = spawn('bash', [join(root, 'deploy/setup.sh'), 'all'], { env: environment(), stdio: ['ignore', 2, 2] });
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  if (code !== 0) throw new Error(`the set-up ended with ${signal ?? code}; see the lines above`);
}

function startUp(options: TargetOptions, home: string): ChildProcess {
  const args = ['dist/src/cli/main.js', 'up', '--json', '--home', home, '--port', '0', '--pool', String(options.pool)];
  if (options.runtime !== undefined) args.push('--runtime', options.runtime);
  return spawn(process.execPath, args, {
    cwd: options.root,
    env: { ...environment(), ...options.env },
    stdio: ['ignore', 'pipe', 'inherit'],
    // An interrupt at the terminal reaches the bench, which stops the server when it is done with it.
    detached: true,
  });
}

async function firstLine(child: ChildProcess): Promise<UpLine> {
  if (child.stdout === null) throw new Error('no stdout');
  for await (const line of createInterface(child.stdout)) return JSON.parse(line) as UpLine;
  throw new Error('the server ended before it was up');
}

async function stop(child: ChildProcess, home: string, run: BenchRun): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
    await gone;
    clearTimeout(timer);
  }
  for (const dataDir of dataDirsIn(home)) run.noteDataDir(dataDir);
  // A tool of a server that has just ended may create one last file.
  await removeAll(home);
}

/** Data directories of the agents of a server with this home. */
function dataDirsIn(home: string): string[] {
  const agents = join(home, 'agents');
  return existsSync(agents) ? readdirSync(agents).map((node) => join(agents, node)) : [];
}

async function remoteTarget(url: string, { image }: TargetOptions): Promise<StartedTarget> {
  const key = apiKey();
  const client = new Millibox({ url, ...(key === undefined ? {} : { apiKey: key }) });
  const operator = new Operator({ url, apiKey: key });
  const [node] = await operator.nodes();
  if (node === undefined) throw new Error(`no node behind ${url}`);
  return {
    url,
    apiKey: key ?? '',
    client,
    operator,
    runtime: node.runtime ?? 'unknown',
    image: image ?? (await defaultImage(client)),
    pids: undefined,
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** The image of a sandbox that names none. */
async function defaultImage(client: Millibox): Promise<string> {
  await using sandbox = await client.sandboxes.create();
  return sandbox.info.image;
}
