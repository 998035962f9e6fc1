/**
 * A background command. The agent reads its output and stores it on the node's disk, so that no slow or missing reader
 * blocks it (docs/adr/0009). Readers that attach follow the log. A job outlives the agent: the next one reattaches at
 * the end of the log.
 */
import type { Logger } from '../../src/lib/logger.ts';
import { PendingCommands, type Json } from '../../src/mux/index.ts';
import { LOST } from '../../src/protocol/cuts.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecCommand, ExecExit, ExecState } from '../../src/protocol/exec.ts';
import { Channel } from '../../src/protocol/frames.ts';
import { attachKind, type ExecHooks } from '../link/relay-kinds.ts';
import type { RelayKind } from '../link/relay.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { OutputDrain } from './output-drain.ts';
import type { JobFiles, StoredJob } from './job-files.ts';
import { SentInput } from './sent-input.ts';

const ATTACH_PAUSE_MS = 100;

export interface JobDeps {
  id: string;
  sandbox: Sandbox;
  files: JobFiles;
  hooks: ExecHooks;
  log: Logger;
  /** It did not start, or boxinit no longer knows it. */
  failed(job: Job): void;
}

/** A reader of a job. */
export interface JobListener {
  /** There is more to read, or the job has ended. */
  changed(): void;
  /** The link to the command broke: stdin that was sent may not have arrived. */
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
  readonly #sent = new SentInput();
  #stored: StoredJob;
  #begun = false;
  #queueMs = 0;
  #drain: OutputDrain | null = null;
  readonly #commands = new PendingCommands();
  /**
   * Whether the command has answered on the current stream. Until then, anything sent to a running command may be lost
   * with the stream.
   */
  #live = false;
  /**
   * Input bytes of readers that were not cut: if the next stream finds that some have not arrived, these readers are
   * cut.
   */
  #due = 0;
  #attached = newWait();
  #failure: ServiceError | null = null;

  private constructor(deps: JobDeps, stored: StoredJob, begun: boolean) {
    this.id = deps.id;
    this.#deps = deps;
    this.#stored = stored;
    this.#begun = begun;
  }

  /** The command is running once `attached` resolves. @throws ServiceError if the sandbox cannot accept it. */
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

  /** Restores a job from an earlier agent's record. */
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

  /** Whether a request with this fingerprint would run the same command. */
  matches(print: string): boolean {
    return (this.#stored.print ?? print) === print;
  }

  get pty(): boolean {
    return this.#stored.pty;
  }

  get startedAtMs(): number {
    return this.#stored.startedAtMs;
  }

  /** Why it is over without an exit; otherwise null. */
  get failure(): ServiceError | null {
    return this.#failure;
  }

  /** Undefined before the command is running. */
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

  /** Resolves once it accepts stdin, or has ended. @throws ServiceError with the reason why it did not start. */
  async attached(): Promise<Attached> {
    await this.#attached.promise;
    const { pid, stdinBytes } = this.#stored;
    return { pid, stdinBytes, queueMs: this.#queueMs };
  }

  listen(listener: JobListener): void {
    this.#listeners.add(listener);
  }

  /** Removes a reader. A start that is still waiting and has no reader left is cancelled. */
  leave(listener: JobListener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0 && !this.#begun) this.#fail(new ServiceError('cancelled'));
  }

  /**
   * False, with the bytes not taken, if the command cannot be reached right now. Input after the FIN, from any reader,
   * is dropped, except in a terminal, which stays open.
   */
  send(channel: number, bytes: Uint8Array, taken: (bytes: number) => void): boolean {
    const drain = this.#drain;
    if (this.exit !== null) taken(bytes.length);
    else if (drain === null || !this.#reachable) return false;
    else if (!drain.hasEnded(channel)) {
      this.#sent.add(bytes.length, taken);
      this.#count(channel, bytes);
      drain.send(channel, bytes);
    } else if (!this.pty || drain.exited) {
      this.#count(channel, bytes);
      taken(bytes.length);
    } else {
      this.#renew(drain);
      return false;
    }
    return true;
  }

  /** Queues the command if the process cannot be reached right now. False if too many are queued. */
  command(command: ExecCommand): boolean {
    if (this.exit !== null || this.#failure !== null) return true;
    if (!this.#commands.keep(command, this.#reachable)) return false;
    if (this.#reachable) this.#drain?.command(command);
    return true;
  }

  /**
   * Passes a FIN on, unless it was already passed on and no input followed it. FIN ALL ends the job's stdin, not the
   * job. False if the command cannot be reached right now.
   */
  finish(channel: number): boolean {
    if (this.exit !== null) return true;
    if (this.#drain === null || !this.#reachable) return false;
    const one = channel === Channel.ALL ? Channel.STDIN : channel;
    if (!this.#drain.hasEnded(one)) this.#drain.finish(one);
    return true;
  }

  /** Called when its sandbox has ended. */
  end(): void {
    this.close(this.#deps.sandbox.endedError());
  }

  /** Stops writing; the program continues, unless its sandbox has ended. */
  close(error: ServiceError): void {
    this.#failure ??= error;
    if (error.code === 'draining') this.#drain?.leave();
    else this.#drain?.abandon();
    this.#drain = null;
    this.#live = false;
    this.#attached.reject(error);
    this.#notify();
  }

  /** Called when its log has grown or shrunk. */
  changed(): void {
    this.#notify();
  }

  #count(channel: number, { length }: Uint8Array): void {
    if (channel !== Channel.SCRIPT) this.#stored.stdinBytes += length;
  }

  /**
   * Reattaches over a new stream, which can carry what this one no longer can. What was sent has normally arrived; if
   * the answer shows otherwise, readers are cut.
   */
  #renew(drain: OutputDrain): void {
    if (!this.#live) return;
    drain.leave();
    this.#drain = null;
    this.#unreached();
    this.#due = this.#stored.stdinBytes;
    this.#sent.settle();
    void this.#attach();
  }

  /** Until the command answers again. Callers waiting for its first answer keep waiting. */
  #unreached(): void {
    if (this.#live) this.#attached = newWait();
    this.#live = false;
  }

  /** Input of a start is passed on at once: if its stream breaks before it is confirmed, it has failed. */
  get #reachable(): boolean {
    return this.#drain !== null && (this.#live || !this.#begun);
  }

  #open(kind: RelayKind): void {
    this.#drain = OutputDrain.open(
      this.files,
      {
        opened: (answer) => void this.#onOpened(answer),
        taken: (bytes) => this.#sent.consumed(bytes),
        exit: (exit) => void this.#onExit(exit),
        lost: (error) => this.#onLost(error),
      },
      this.#deps.sandbox,
      kind,
    );
  }

  /** Recorded before any reader gets a confirmation, so that the next agent knows every confirmed job. */
  async #onOpened(answer: Json): Promise<void> {
    const { pid, stdinBytes, queueMs } = answer;
    if (typeof pid === 'number') this.#stored.pid = pid;
    if (typeof queueMs === 'number') this.#queueMs = queueMs;
    this.#stored.stdinBytes = typeof stdinBytes === 'number' ? stdinBytes : this.#stored.stdinBytes;
    this.#live = true;
    // The current one, not the one a cut replaces it with while the record is being written.
    const attached = this.#attached;
    if (this.#begun) {
      const lost = this.#stored.stdinBytes < this.#due;
      if (lost) this.#cut(new ServiceError('interrupted', 'some of the input was lost'));
      for (const command of this.#commands.take()) this.#drain?.command(command);
    } else {
      this.#stored.startedAtMs = Date.now();
      this.#begun = true;
      await this.#save();
    }
    attached.resolve();
  }

  /** Acknowledges the exit only once all output is on disk. */
  async #onExit(exit: ExecExit): Promise<void> {
    const drain = this.#drain;
    await this.files.end(exit);
    if (this.#failure !== null) return;
    this.#stored.exit = exit;
    const saved = await this.#save();
    if (saved) drain?.acknowledge();
    else drain?.leave();
    this.#drain = null;
    this.#attached.resolve();
    this.#notify();
  }

  #onLost(error: ServiceError): void {
    this.#drain = null;
    this.#unreached();
    this.#sent.forget();
    if (this.#failure !== null) return;
    if (!this.#begun || !LOST.has(error.code) || this.#deps.sandbox.ended) return this.#fail(error);
    this.#cut(error);
    setTimeout(() => void this.#attach(), ATTACH_PAUSE_MS).unref();
  }

  #cut(error: ServiceError): void {
    this.#due = 0;
    for (const listener of [...this.#listeners]) listener.cut(error);
  }

  /** Reattaches at the end of the log, waiting for boxinit as any attach does. Never rejects. */
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

  /** Saves the record. False if the disk refused it. */
  async #save(): Promise<boolean> {
    try {
      await this.files.save(this.#stored);
      return true;
    } catch (error) {
      // A job that ended meanwhile needs no record.
      if (this.#failure === null) this.#deps.log.error({ err: error, job: this.id }, 'a job record cannot be written');
      return false;
    }
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener.changed();
  }
}

function newWait(): PromiseWithResolvers<void> {
  const wait = Promise.withResolvers<void>();
  wait.promise.catch(() => undefined);
  return wait;
}
