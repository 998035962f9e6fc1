/**
 * A background command. The agent reads its output and stores it on the node's disk, so that no slow or missing reader
 * blocks it (docs/adr/0009). Whoever attaches follows the log. A job outlives the agent: the next one attaches where
 * the files end.
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
import { Drain } from './drain.ts';
import type { JobFiles, StoredJob } from './job-files.ts';

const ATTACH_PAUSE_MS = 100;

export interface JobDeps {
  id: string;
  sandbox: Sandbox;
  files: JobFiles;
  hooks: ExecHooks;
  log: Logger;
  /** It did not start, or boxinit does not know it any more. */
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
  /** Stdin that was sent and not yet consumed, with the callback to tell. */
  readonly #sent: { bytes: number; taken(bytes: number): void }[] = [];
  #stored: StoredJob;
  #begun = false;
  #queueMs = 0;
  #drain: Drain | null = null;
  readonly #commands = new PendingCommands();
  /** The command has answered on the current stream. Until then, what a running command is sent may be lost with it. */
  #live = false;
  #attached = newWait();
  #failure: ServiceError | null = null;

  private constructor(deps: JobDeps, stored: StoredJob, begun: boolean) {
    this.id = deps.id;
    this.#deps = deps;
    this.#stored = stored;
    this.#begun = begun;
  }

  /** It runs once `attached` resolves. @throws ServiceError if the sandbox cannot accept it. */
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

  /** Whether a request with this fingerprint would run the same. */
  matches(print: string): boolean {
    return (this.#stored.print ?? print) === print;
  }

  get pty(): boolean {
    return this.#stored.pty;
  }

  get startedAtMs(): number {
    return this.#stored.startedAtMs;
  }

  /** Why it is over without an exit; null otherwise. */
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

  /** Resolves once it accepts stdin, or has ended. @throws ServiceError that says why it did not start. */
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

  /** False if the command cannot be reached right now: the bytes are not taken. */
  send(channel: number, bytes: Uint8Array, taken: (bytes: number) => void): boolean {
    if (this.exit !== null) taken(bytes.length);
    else if (this.#drain === null || !this.#reachable) return false;
    else {
      const last = this.#sent.at(-1);
      if (last?.taken === taken) last.bytes += bytes.length;
      else this.#sent.push({ bytes: bytes.length, taken });
      if (channel !== Channel.SCRIPT) this.#stored.stdinBytes += bytes.length;
      this.#drain.send(channel, bytes);
    }
    return true;
  }

  /** Waits for the command if it cannot be reached right now. False if too many wait. */
  command(command: ExecCommand): boolean {
    if (this.exit !== null || this.#failure !== null) return true;
    if (!this.#commands.keep(command, this.#reachable)) return false;
    if (this.#reachable) this.#drain?.command(command);
    return true;
  }

  /** Passes a FIN on. FIN ALL ends the job's stdin, not the job. False if the command cannot be reached right now. */
  finish(channel: number): boolean {
    if (this.exit !== null) return true;
    if (!this.#reachable) return false;
    this.#drain?.finish(channel === Channel.ALL ? Channel.STDIN : channel);
    return true;
  }

  /** Its sandbox has ended. */
  end(): void {
    this.close(this.#deps.sandbox.endedError());
  }

  /** Stops writing; the program continues, unless its sandbox has ended. */
  close(error: ServiceError): void {
    this.#failure ??= error;
    this.#drain?.abandon();
    this.#drain = null;
    this.#live = false;
    this.#attached.reject(error);
    this.#tell();
  }

  /** Called when its log has grown or shrunk. */
  changed(): void {
    this.#tell();
  }

  /** A start is passed on as it comes: if its stream breaks before it is confirmed, it has failed. */
  get #reachable(): boolean {
    return this.#drain !== null && (this.#live || !this.#begun);
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

  /** Recorded before any reader is told that it runs, so that the next agent knows every job that was confirmed. */
  async #onOpened(answer: Json): Promise<void> {
    const { pid, stdinBytes, queueMs } = answer;
    if (typeof pid === 'number') this.#stored.pid = pid;
    if (typeof queueMs === 'number') this.#queueMs = queueMs;
    this.#stored.stdinBytes = typeof stdinBytes === 'number' ? stdinBytes : this.#stored.stdinBytes;
    this.#live = true;
    if (this.#begun) for (const command of this.#commands.take()) this.#drain?.command(command);
    else {
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

  /** Acknowledges the exit only once all output is on disk. */
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
    this.#live = false;
    this.#sent.length = 0;
    if (this.#failure !== null) return;
    if (!this.#begun || !LOST.has(error.code) || this.#deps.sandbox.ended) return this.#fail(error);
    this.#attached = newWait();
    for (const listener of [...this.#listeners]) listener.cut(error);
    setTimeout(() => void this.#attach(), ATTACH_PAUSE_MS).unref();
  }

  /** Attaches at the end of the files, waiting for boxinit as any attach does. Never rejects. */
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

  /** Saves the record. False if the disk refused. */
  async #save(): Promise<boolean> {
    try {
      await this.files.save(this.#stored);
      return true;
    } catch (error) {
      // A job that is over meanwhile needs no record.
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
