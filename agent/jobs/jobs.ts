/** The background commands of all sandboxes on the node, and the disk space of their logs. */
import { lstatSync, mkdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from '../../src/lib/logger.ts';
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import { namesIn } from '../../src/lib/names-in.ts';
import { isMissing } from '../../src/lib/whole-file.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecState } from '../../src/protocol/exec.ts';
import { ID_PATTERN } from '../../src/protocol/ids.ts';
import { parseExec, toSupervisorAttach } from '../link/exec-request.ts';
import { execKind, type ExecHooks } from '../link/relay-kinds.ts';
import type { CallCount } from '../link/relay.ts';
import { retryTransient } from '../sandboxes/transient-errors.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { Follower, type FollowOptions } from './follower.ts';
import { untilOver } from './job-end.ts';
import { JobFiles, type JobFilesOptions, type StoredJob } from './job-files.ts';
import { Job, type JobDeps } from './job.ts';
import { LogRoom } from './log-room.ts';
import { requestFingerprint } from './request-fingerprint.ts';

/** Jobs kept per sandbox. Beyond that, the oldest one that has ended is removed with its log. */
const MAX_JOBS = 1_000;

interface JobsOptions {
  dataDir: string;
  limits: JobLogLimits;
  hooks: ExecHooks;
  log: Logger;
}

interface JobLogLimits {
  /** Limit of one job's log, both channels together. */
  jobBytes: number;
  /** Limit of all logs on the node. */
  totalBytes: number;
}

interface LoadedJob {
  files: JobFiles;
  stored: StoredJob;
}

interface Following extends Omit<FollowOptions, 'over'> {
  job: Job;
}

/**
 * A job of an earlier agent that cannot be read. It can be signalled, but reading it from boxinit would consume output
 * and an exit that belong in its log.
 */
class UnreadableJob {
  state(): undefined {
    return undefined;
  }
}
const UNREAD = new UnreadableJob();

export class Jobs {
  readonly #options: JobsOptions;
  /** Holds a directory per sandbox, and in it one per job. */
  readonly directory: string;
  readonly #room: LogRoom;
  readonly #all = new Map<string, Map<string, Job>>();
  /** Jobs of an earlier agent that could not be read, by sandbox; they stay on disk. Null: all those that exist. */
  readonly #unreadable = new Map<string, ReadonlySet<string> | null>();
  /** Removals in progress, by directory. */
  readonly #removals = new Map<string, Promise<void>>();

  constructor(options: JobsOptions) {
    this.#options = options;
    this.directory = path.join(options.dataDir, 'jobs');
    this.#room = new LogRoom(options.limits.totalBytes, (sandbox, job) => this.#remove(sandbox, job));
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
  }

  find(sandbox: string, id: unknown): Job | UnreadableJob | undefined {
    if (typeof id !== 'string') return undefined;
    return this.#all.get(sandbox)?.get(id) ?? (this.#isUnreadable(sandbox, id) === true ? UNREAD : undefined);
  }

  /** The state of each job of a sandbox, running or ended. */
  states(sandbox: string): ExecState[] {
    const jobs = this.#all.get(sandbox)?.values() ?? [];
    return [...jobs].flatMap((job) => job.state() ?? []);
  }

  /** Resolves once the job is over, or after `ms`; at once if this is not a job or cannot be read. */
  async whenOver(sandbox: string, id: string, ms: number): Promise<void> {
    const job = this.find(sandbox, id);
    if (job instanceof Job && job.state() !== undefined) await untilOver(job, ms);
  }

  /**
   * Runs a background command, with the stream as its first reader. A known id does not run again.
   * @throws ServiceError to refuse the stream with: `idempotency_conflict` if the known id runs something else,
   * `internal` if it may have run and its log cannot be read.
   */
  exec(outer: MuxStream, sandbox: Sandbox, calls: CallCount): StreamHandler {
    const known = this.find(sandbox.id, outer.request['id']);
    const exec = parseExec(outer.request);
    if (known instanceof UnreadableJob) throw unreadable();
    if (known?.matches(requestFingerprint(exec)) === false) {
      throw new ServiceError('idempotency_conflict', 'this id was already used with a different request');
    }
    const job = known ?? this.start(sandbox, { ...outer.request, id: exec.id });
    return this.#follow(outer, sandbox, calls, {
      job,
      starts: known === undefined,
      stdout: 0,
      stderr: 0,
      answer: ({ pid, stdinBytes, queueMs }) =>
        known === undefined ? { pid, id: job.id, queueMs } : { pid, id: job.id, queueMs, adopted: true, stdinBytes },
    });
  }

  /** @throws ServiceError `invalid_request`, `sandbox_ended`, `internal` if its log cannot be read. */
  attach(outer: MuxStream, sandbox: Sandbox, job: Job | UnreadableJob, calls: CallCount): StreamHandler {
    if (sandbox.ended) throw sandbox.endedError();
    if (job instanceof UnreadableJob) throw unreadable();
    const { stdout, stderr } = toSupervisorAttach(outer.request);
    const { files } = job;
    if (stdout > files.stdout.written || stderr > files.stderr.written) {
      throw new ServiceError('invalid_request', 'the offset is beyond the end of the output');
    }
    return this.#follow(outer, sandbox, calls, {
      job,
      starts: false,
      stdout,
      stderr,
      answer: ({ pid, stdinBytes }) => ({ pid, stdinBytes }),
    });
  }

  /**
   * Runs a command that has no reader yet.
   * @throws ServiceError if it cannot even be queued for its sandbox, `internal` if it may have run and its log cannot
   * be read.
   */
  start(sandbox: Sandbox, request: Json): Job {
    if (sandbox.ended) throw sandbox.endedError();
    const exec = parseExec(request);
    if (this.#isUnreadable(sandbox.id, exec.id) !== false) throw unreadable();
    const jobs = this.#all.get(sandbox.id) ?? new Map<string, Job>();
    this.#all.set(sandbox.id, jobs);
    if (jobs.size >= MAX_JOBS) this.#removeOldest(sandbox.id, jobs);
    const files = JobFiles.create(this.#filesOf(sandbox.id, exec.id));
    const kind = execKind({ ...request, id: exec.id, background: true }, this.#options.hooks);
    let job: Job;
    try {
      const about = { pty: exec.pty !== undefined, print: requestFingerprint({ ...exec, background: true }) };
      job = Job.start(this.#deps(sandbox, exec.id, files), kind, about);
    } catch (error) {
      this.#removed(files.directory, files.remove());
      throw error;
    }
    jobs.set(exec.id, job);
    this.#room.changed(sandbox.id, job);
    return job;
  }

  /** Restores a sandbox's jobs from an earlier agent. Unreadable ones are left to the next start. */
  async load(sandbox: Sandbox): Promise<void> {
    const found: LoadedJob[] = [];
    let unread: Set<string> | null = null;
    try {
      await retryTransient(async () => {
        unread ??= new Set(await namesIn(path.join(this.directory, sandbox.id)));
        await this.#read(sandbox.id, unread, found);
      });
    } catch (error) {
      this.#options.log.error(
        { err: error, sandbox: sandbox.id },
        'job records cannot be read: left for the next start',
      );
    }
    if (sandbox.ended) return;
    this.#unreadable.set(sandbox.id, unread);
    const jobs = new Map<string, Job>();
    this.#all.set(sandbox.id, jobs);
    found.sort((a, b) => a.stored.startedAtMs - b.stored.startedAtMs);
    for (const { files, stored } of found) {
      const job = Job.restore(this.#deps(sandbox, stored.id, files), stored);
      jobs.set(stored.id, job);
      this.#room.changed(sandbox.id, job);
    }
  }

  /** Call after `load` of all living sandboxes: removes all other logs. @param left sandboxes that may be alive */
  async sweep(left: ReadonlyMap<string, unknown>): Promise<void> {
    for (const id of await readdir(this.directory)) {
      if (!this.#all.has(id) && !left.has(id))
        await rm(path.join(this.directory, id), { recursive: true, force: true });
    }
  }

  /** Removes the jobs and logs of a sandbox that has ended. */
  end(sandbox: string): void {
    const jobs = this.#all.get(sandbox);
    if (jobs === undefined) return;
    this.#all.delete(sandbox);
    this.#unreadable.delete(sandbox);
    this.#room.forget(sandbox);
    for (const job of jobs.values()) job.end();
    const directory = path.join(this.directory, sandbox);
    const written = Promise.all([...jobs.values()].map((job) => job.files.close()));
    this.#removed(
      directory,
      written.then(() => rm(directory, { recursive: true, force: true })),
    );
  }

  /** Leaves everything on disk for the next agent. Resolves once nothing is being written or removed. */
  async close(): Promise<void> {
    const jobs = [...this.#all.values()].flatMap((each) => [...each.values()]);
    for (const job of jobs) job.close(new ServiceError('draining'));
    await Promise.all(jobs.map((job) => job.files.close()));
    await Promise.all(this.#removals.values());
  }

  /**
   * Moves readable jobs from `ids` to `found`, and removes incomplete ones.
   * @throws the first Error met with those that stay.
   */
  async #read(sandbox: string, ids: Set<string>, found: LoadedJob[]): Promise<void> {
    const errors: unknown[] = [];
    for (const id of ids) {
      const options = this.#filesOf(sandbox, id);
      try {
        const loaded = ID_PATTERN.test(id) ? await JobFiles.load(options) : undefined;
        if (loaded !== undefined) found.push(loaded);
        else await rm(options.directory, { recursive: true, force: true });
        ids.delete(id);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  /** Undefined if it cannot be determined. */
  #isUnreadable(sandbox: string, id: string): boolean | undefined {
    const unread = this.#unreadable.get(sandbox);
    if (unread !== null) return unread?.has(id) === true;
    if (!ID_PATTERN.test(id)) return false;
    try {
      lstatSync(path.join(this.directory, sandbox, id));
      return true;
    } catch (error) {
      return isMissing(error) ? false : undefined;
    }
  }

  #follow(outer: MuxStream, sandbox: Sandbox, calls: CallCount, { job, ...options }: Following): StreamHandler {
    calls.callBegins(sandbox);
    return new Follower(outer, job, { ...options, over: () => calls.callEnds(sandbox) });
  }

  #filesOf(sandbox: string, id: string): JobFilesOptions {
    const directory = path.join(this.directory, sandbox, id);
    return {
      directory,
      // An earlier job of the same id may still be being removed.
      free: this.#removals.get(directory) ?? Promise.resolve(),
      maxBytes: this.#options.limits.jobBytes,
      log: this.#options.log,
      changed: () => {
        const job = this.#all.get(sandbox)?.get(id);
        if (job === undefined) return;
        this.#room.changed(sandbox, job);
        job.changed();
      },
    };
  }

  #deps(sandbox: Sandbox, id: string, files: JobFiles): JobDeps {
    const { hooks, log } = this.#options;
    return { id, sandbox, files, hooks, log, failed: (job) => this.#remove(sandbox.id, job) };
  }

  #removeOldest(sandbox: string, jobs: ReadonlyMap<string, Job>): void {
    for (const job of jobs.values()) if (job.exit !== null) return this.#remove(sandbox, job);
    throw new ServiceError('exec_resource_limit', `${MAX_JOBS} jobs are already running in this sandbox`);
  }

  #remove(sandbox: string, job: Job): void {
    const jobs = this.#all.get(sandbox);
    if (jobs?.get(job.id) === job) jobs.delete(job.id);
    this.#room.gone(sandbox, job);
    job.close(new ServiceError('exec_not_found', 'the log of this job was discarded'));
    this.#removed(job.files.directory, job.files.remove());
  }

  #removed(directory: string, work: Promise<void>): void {
    const logged = work
      .catch((error: unknown) => this.#options.log.error({ err: error }, 'the log of a job cannot be removed'))
      .finally(() => {
        if (this.#removals.get(directory) === logged) this.#removals.delete(directory);
      });
    this.#removals.set(directory, logged);
  }
}

const unreadable = (): ServiceError => new ServiceError('internal', 'the log of this job cannot be read');
