/**
 * The agent's end of a nursery: a container prepared by the OCI runtime, in which boxinit makes blanks by cloning
 * itself, like a zygote. One request and one answer per line (docs/adr/0006).
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import * as z from 'zod';
import { background } from '../../../src/lib/background.ts';
import { withDeadline, orAbort } from '../../../src/lib/deadline.ts';
import type { Logger } from '../../../src/lib/logger.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { listen } from '../../listen.ts';
import { removeOldNurseries, settleNursery } from './box-groups.ts';
import type { CgroupTree } from './cgroup-tree.ts';
import { endProcess, endProcesses } from './ending.ts';
import { identify, type ProcessId } from './pids.ts';
import type { Place } from './place.ts';
import type { RuntimeCli } from './runtime-cli.ts';
import { INSIDE, MASKED_PATHS, nurserySpec, READONLY_PATHS } from './spec.ts';

const START_MS = 30_000;
/** A fork takes milliseconds. */
const FORK_MS = 10_000;

const Answer = z.object({ id: z.string(), pid: z.number().int().positive().optional(), error: z.string().optional() });

export interface NurseryDeps {
  place: Place;
  tree: CgroupTree;
  cli: RuntimeCli;
  log: Logger;
}

/** Paths are as seen by the blank. */
interface ForkOptions {
  socket: string;
  token: string;
  /** The sandbox's upper dir, and files that every claim needs there: the blank creates them while it waits. */
  upper: string;
  files: readonly string[];
}

export class Nursery {
  /** The parent cgroup of its blanks' groups. */
  readonly group: string;
  readonly #socket: net.Socket;
  readonly #process: ProcessId;
  readonly #log: Logger;
  readonly #waiting = new Map<string, PromiseWithResolvers<number>>();
  #over = false;

  private constructor(group: string, socket: net.Socket, process: ProcessId, log: Logger) {
    this.group = group;
    this.#socket = socket;
    this.#process = process;
    this.#log = log;
    const lines = createInterface({ input: socket, crlfDelay: Infinity });
    lines.on('line', (line) => this.#onAnswer(line));
    // Both emit it: a nursery killed with an unread request resets its connection.
    lines.on('error', () => undefined);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#onEnd());
  }

  /** Starts a nursery. @throws ServiceError; nothing is left behind. */
  static async start(deps: NurseryDeps): Promise<Nursery> {
    const { place, tree, cli, log } = deps;
    removeOldNurseries(tree, place);
    const id = `nursery-${randomBytes(6).toString('hex')}`;
    const group = place.nurseryGroup(id);
    const groups = groupDirs(tree, group);
    const dir = join(place.ociDir, 'nurseries', id);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const server = net.createServer();
    const calls = Promise.withResolvers<net.Socket>();
    server.once('connection', calls.resolve);
    let child: ProcessId | undefined;
    try {
      await listen(server, { path: join(dir, 'n.sock'), backlog: 1 });
      const spec = nurserySpec({
        ...place,
        cgroupPath: `/${group}`,
        groups,
        env: { MILLIBOX_NURSERY: '1', MILLIBOX_SOCKET: place.inside(join(dir, 'n.sock')) },
      });
      await writeFile(join(dir, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
      await cli.run(id, dir, join(dir, 'pid'), { logPath: join(dir, 'log'), deadlineMs: START_MS });
      child = identify(Number(await readFile(join(dir, 'pid'), 'utf8')));
      if (child === undefined) throw new ServiceError('internal', 'the nursery ended at its start');
      const socket = await withDeadline({ deadlineMs: START_MS, what: 'the nursery' }, (signal) =>
        orAbort(signal, calls.promise),
      );
      settleNursery(tree, group, child.pid);
      const nursery = new Nursery(group, socket, child, log);
      nursery.#send({ op: 'plan', ...plan(tree, groups) });
      return nursery;
    } catch (error) {
      // By cgroup: a runtime that exceeds its deadline may have started it without reporting its pid.
      await endProcesses(tree, group, child).catch((left: unknown) =>
        log.error({ err: left }, 'a nursery could not be removed'),
      );
      void calls.promise.then((socket) => socket.on('error', () => undefined).destroy());
      removeOldNurseries(tree, place);
      throw error;
    } finally {
      // It has connected, or the start has failed.
      server.close();
      await cli.forget(id);
      await rm(dir, { recursive: true, force: true });
    }
  }

  get over(): boolean {
    return this.#over;
  }

  /**
   * Starts a blank and returns its pid in this process's namespace. A nursery that does not answer is closed: its
   * process may be stopped, and would keep every later start waiting.
   * @throws ServiceError.
   */
  async fork(id: string, options: ForkOptions): Promise<number> {
    if (this.#over) throw new ServiceError('internal', 'the nursery has ended');
    const answer = Promise.withResolvers<number>();
    this.#waiting.set(id, answer);
    try {
      this.#send({ op: 'fork', id, ...options });
      return await withDeadline({ deadlineMs: FORK_MS, what: 'a blank' }, () => answer.promise);
    } catch (error) {
      if (error instanceof ServiceError && error.code === 'deadline_exceeded' && !this.#over) {
        this.#log.error({ pid: this.#process.pid }, 'the nursery does not answer and is killed');
        // Not awaited: a process frozen by a cgroup only dies once it is thawed.
        background(this.close(), 'ending a nursery', this.#log);
      }
      throw error;
    } finally {
      this.#waiting.delete(id);
    }
  }

  /** Resolves once its process is gone. Its blanks continue. */
  async close(): Promise<void> {
    this.#socket.destroy();
    this.#onEnd();
    await endProcess(this.#process);
  }

  #send(message: object): void {
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #onAnswer(line: string): void {
    try {
      const { id, pid, error } = Answer.parse(JSON.parse(line));
      if (pid !== undefined) this.#waiting.get(id)?.resolve(pid);
      else this.#waiting.get(id)?.reject(notMade(error));
    } catch (error) {
      this.#log.error({ err: error }, 'unexpected answer from the nursery');
      this.#socket.destroy();
    }
  }

  #onEnd(): void {
    this.#over = true;
    for (const answer of this.#waiting.values()) answer.reject(new ServiceError('internal', 'the nursery has ended'));
    this.#waiting.clear();
  }
}

/** boxinit's messages may reveal details of the node: they are for the log. */
const notMade = (why = 'no reason given'): ServiceError =>
  new ServiceError('internal', 'a blank could not be made', { cause: new Error(why) });

interface GroupDir {
  outside: string;
  inside: string;
}

/** The directories in which blanks' cgroups are created, as seen by the host and by the nursery. */
function groupDirs(tree: CgroupTree, group: string): GroupDir[] {
  const roots = [...new Set(Object.values(tree.controllers))];
  return roots.map((root) => ({ outside: join(root, group), inside: join(INSIDE.groups, basename(root)) }));
}

function plan(tree: CgroupTree, groups: readonly GroupDir[]): object {
  return {
    groups: groups.map(({ inside }) => inside),
    groupsMade: true,
    hierarchies: tree.views,
    masked: MASKED_PATHS,
    readOnly: READONLY_PATHS,
  };
}
