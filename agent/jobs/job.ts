/**
 * A command in the background. The agent itself listens to it and keeps what it writes on the node's disk, so that it is
 * never held up by who reads it, or by nobody. Whoever attaches follows the log. It outlives the agent: the next one
 * attaches where the files end.
 */
import type { Logger } from '../../src/lib/logger.ts';
import type { Json } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecExit, ExecState } from '../../src/protocol/exec.ts';
import { Channel } from '../../src/protocol/frames.ts';
import { attachKind, type ExecHooks } from '../link/relay-kinds.ts';
import type { RelayKind } from '../link/relay.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { Drain } from './drain.ts';
import type { JobFiles, StoredJob } from './job-files.ts';

/** The way to the command was lost; the command itself may be well. */
const CUTS: ReadonlySet<string> = new Set(['interrupted', 'node_unavailable']);
const ATTACH_PAUSE_MS = 100;

export interface JobDeps {
  id: string;
  sandbox: Sandbox;
  files: JobFiles;
  hooks: ExecHooks;
  log: Logger;
  /** It did not start, or nothing is known of it any more. */
  failed(job: Job): void;
}

/** Who follows a job. */
export interface JobListener {
  /** There is more to read, or the end has come. */
  changed(): void;
  /** The way to the command was cut: what was sent to it may not have arrived. */
  cut(error: ServiceError): void;
}

export interface Attached {
  pid: number;
  stdinBytes: number;
  queueMs: number;
}

export class Job {
  readonly id: string;
  readonly #deps: JobDeps;
  readonly #listeners = new Set<JobListener>();
  /** Bytes that were sent and not yet taken, and whom to tell. */
  readonly #sent: { bytes: number; taken(bytes: number): void }[] = [];
  #stored: StoredJob;
  #begun = false;
  #queueMs = 0;
  #drain: Drain | null = null;
  #attached = newWait();
  #failure: ServiceError | null = null;

  private constructor(deps: JobDeps, stored: StoredJob, begun: boolean) {
    this.id = deps.id;
    this.#deps = deps;
    this.#stored = stored;
    this.#begun = begun;
  }

  /** @throws ServiceError when the sandbox cannot take it. It runs once `attached` resolves. */
  static start(deps: JobDeps, kind: RelayKind, { pty, print }: { pty: boolean; print: string }): Job {
    const stored: StoredJob = {
      version: 1,
      id: deps.id,
      print,
      pid: 0,
      startedAtMs: Date.now(),
      pty,
      stdinBytes: 0,
      exit: null,
    };
    const job = new Job(deps, stored, false);
    job.#open(kind);
    return job;
  }

  /** One that an earlier agent has written down. */
  static restore(deps: JobDeps, stored: StoredJob): Job {
    const job = new Job(deps, stored, true);
    if (stored.exit !== null) job.#attached.resolve();
    else void job.#attach();
    return job;
  }

  get files(): JobFiles {
    return this.#deps.files;
  }

  get exit(): ExecExit | null {
    return this.#stored.exit;
  }

  /** Whether a request with this print would run the same. */
  matches(print: string): boolean {
    return (this.#stored.print ?? print) === print;
  }

  get pty(): boolean {
    return this.#stored.pty;
  }

  get startedAtMs(): number {
    return this.#stored.startedAtMs;
  }

  /** Why nothing more comes, although there was no exit. */
  get failure(): ServiceError | null {
    return this.#failure;
  }

  /** Undefined before it runs. */
  state(): ExecState | undefined {
    if (!this.#begun) return undefined;
    const { id, exit, startedAtMs } = this.#stored;
    const { stdout, stderr } = this.files;
    return {
      execId: id,
      state: exit === null ? 'running' : 'exited',
      background: true,
      startedAt: new Date(startedAtMs).toISOString(),
      stdoutBytes: stdout.written,
      stderrBytes: stderr.written,
      stdoutFrom: stdout.start,
      stderrFrom: stderr.start,
      exit,
    };
  }

  /** Resolves when it runs and can be given stdin, or has ended. @throws ServiceError why it did not start. */
  async attached(): Promise<Attached> {
    await this.#attached.promise;
    const { pid, stdinBytes } = this.#stored;
    return { pid, stdinBytes, queueMs: this.#queueMs };
  }

  listen(listener: JobListener): void {
    this.#listeners.add(listener);
  }

  /** A start that waits in line and that nobody waits for any more is called off. */
  leave(listener: JobListener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0 && !this.#begun) this.#fail(new ServiceError('cancelled'));
  }

  send(channel: number, bytes: Uint8Array, taken: (bytes: number) => void): void {
    if (this.#drain === null || this.exit !== null) return taken(bytes.length);
    this.#sent.push({ bytes: bytes.length, taken });
    if (channel !== Channel.SCRIPT) this.#stored.stdinBytes += bytes.length;
    this.#drain.send(channel, bytes);
  }

  command(message: Json): void {
    if (this.exit === null) this.#drain?.command(message);
  }

  /** FIN of a channel; FIN ALL is the end of its stdin, not of the job. */
  finish(channel: number): void {
    if (this.exit === null) this.#drain?.finish(channel === Channel.ALL ? Channel.STDIN : channel);
  }

  /** Its sandbox has ended. */
  end(): void {
    this.close(this.#deps.sandbox.endedError());
  }

  /** Nothing more is written; the program goes on, unless its sandbox has ended. */
  close(error: ServiceError): void {
    this.#failure ??= error;
    this.#drain?.abandon();
    this.#drain = null;
    this.#attached.reject(error);
    this.#tell();
  }

  /** Its log has grown or shrunk. */
  changed(): void {
    this.#tell();
  }

  #open(kind: RelayKind): void {
    this.#drain = Drain.open(
      this.files,
      {
        opened: (answer) => void this.#onOpened(answer),
        taken: (bytes) => this.#onTaken(bytes),
        exit: (exit) => void this.#onExit(exit),
        lost: (error) => this.#onLost(error),
      },
      this.#deps.sandbox,
      kind,
    );
  }

  /** It is written down before anybody hears that it runs: so the next agent knows all that was promised. */
  async #onOpened(answer: Json): Promise<void> {
    const { pid, stdinBytes, queueMs } = answer;
    if (typeof pid === 'number') this.#stored.pid = pid;
    if (typeof queueMs === 'number') this.#queueMs = queueMs;
    this.#stored.stdinBytes = typeof stdinBytes === 'number' ? stdinBytes : this.#stored.stdinBytes;
    if (!this.#begun) {
      this.#stored.startedAtMs = Date.now();
      this.#begun = true;
      await this.#save();
    }
    this.#attached.resolve();
  }

  #onTaken(bytes: number): void {
    for (let left = bytes; left > 0;) {
      const [first] = this.#sent;
      if (first === undefined) return;
      const taken = Math.min(left, first.bytes);
      first.bytes -= taken;
      left -= taken;
      first.taken(taken);
      if (first.bytes === 0) this.#sent.shift();
    }
  }

  /** Acknowledged only when all of it is on the disk. */
  async #onExit(exit: ExecExit): Promise<void> {
    const drain = this.#drain;
    await this.files.end(exit);
    if (this.#failure !== null) return;
    this.#stored.exit = exit;
    const saved = await this.#save();
    if (saved) drain?.acknowledge();
    else drain?.abandon();
    this.#drain = null;
    this.#attached.resolve();
    this.#tell();
  }

  #onLost(error: ServiceError): void {
    this.#drain = null;
    this.#sent.length = 0;
    if (this.#failure !== null) return;
    if (!this.#begun || !CUTS.has(error.code) || this.#deps.sandbox.ended) return this.#fail(error);
    this.#attached = newWait();
    for (const listener of [...this.#listeners]) listener.cut(error);
    setTimeout(() => void this.#attach(), ATTACH_PAUSE_MS).unref();
  }

  /** Goes on where the files end. Waits for boxinit as any attach does. Never rejects. */
  async #attach(): Promise<void> {
    await this.files.settled();
    if (this.#failure !== null) return;
    const { stdout, stderr } = this.files;
    const { sandbox, hooks } = this.#deps;
    const request = { op: 'attach', sandbox: sandbox.id, id: this.id, stdout: stdout.written, stderr: stderr.written };
    try {
      this.#open(attachKind(request, hooks));
    } catch (error) {
      this.#onLost(ServiceError.from(error));
    }
  }

  #fail(error: ServiceError): void {
    this.close(error);
    this.#deps.failed(this);
  }

  /** Whether it is on the disk. */
  async #save(): Promise<boolean> {
    try {
      await this.files.save(this.#stored);
      return true;
    } catch (error) {
      // Of one that is over meanwhile, nothing is wanted on the disk.
      if (this.#failure === null) this.#deps.log.error({ err: error, job: this.id }, 'a job cannot be written down');
      return false;
    }
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener.changed();
  }
}

function newWait(): PromiseWithResolvers<void> {
  const wait = Promise.withResolvers<void>();
  wait.promise.catch(() => undefined);
  return wait;
}
