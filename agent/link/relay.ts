/**
 * Splices a gateway's stream to a boxinit stream. Bytes pass through uninspected, and credit is returned to one side
 * when the other has room, so a slow client blocks only its own program. The agent keeps no data: when one side is lost
 * the other is released, and an `attach` splices them again.
 */
import { DeferredCredit, EarlyInput, type Json, type MuxStream, type StreamHandler } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { ExecCommand } from '../../src/protocol/exec.ts';
import { readExecCommand } from '../../src/protocol/exec-command.ts';
import type { SupervisorOpen } from '../../src/protocol/supervisor.ts';
import type { Sandbox, Waiting } from '../sandboxes/sandbox.ts';
import { cleanError } from '../supervisor/hostile.ts';
import { whenRoom } from './link-room.ts';

/** How long a cut stream waits to learn whether its sandbox has ended. */
const RELINK_MS = 3_000;
/** How long a call waits for boxinit to reconnect after a restart of the agent. */
export const RECALL_MS = 10_000;

/** Counts calls: a sandbox with an open stream is not idle. */
export interface CallCount {
  callBegins(sandbox: Sandbox): void;
  callEnds(sandbox: Sandbox): void;
}

/** How execs, file calls and ports differ. */
export interface RelayKind {
  /** boxinit's request, made once the sandbox is running. @throws ServiceError to refuse the stream with. */
  request(sandbox: Sandbox): SupervisorOpen;
  /** Validates and completes boxinit's answer. @throws ServiceError if boxinit is hostile. */
  opened(answer: Json, queueMs: number): Json;
  /** Accepts the gateway's stream, perhaps later. Absent: at once. @throws ServiceError to refuse it with. */
  accept?(outer: MuxStream, sandbox: Sandbox, answer: Json): Promise<void> | undefined;
  /** If a crowded link need not take this message: what is sent once instead of it and others. */
  instead?(message: Json): Json | undefined;
  /** Whether it takes it all the same. */
  takes?(message: Json, sandbox: Sandbox): boolean;
  /**
   * Validates a message from boxinit; undefined drops it. Later messages wait for a promise; one that rejects ends the
   * stream.
   * @throws ServiceError if boxinit is hostile.
   */
  event(message: Json, sandbox: Sandbox): Json | undefined | Promise<Json>;
  /** Whether the gateway may send commands: signals, kills, resizes. */
  readonly takesCommands: boolean;
  /** Called once, when the stream is over. */
  over?(error: ServiceError | null): void;
}

/**
 * Splices an incoming stream to boxinit once the sandbox is running.
 * @throws ServiceError to refuse the stream with.
 */
export function relay(outer: MuxStream, sandbox: Sandbox, calls: CallCount, kind: RelayKind): StreamHandler {
  const joined = new Relay(outer, sandbox, calls, kind);
  joined.begin();
  return joined;
}

class Relay implements StreamHandler, Waiting {
  readonly #outer: MuxStream;
  readonly #sandbox: Sandbox;
  readonly #calls: CallCount;
  readonly #kind: RelayKind;
  readonly #beganAt = performance.now();
  #queueMs = 0;
  #inner: MuxStream | null = null;
  /** Input from the gateway while boxinit cannot be reached yet. */
  #early: EarlyInput | null = new EarlyInput();
  readonly #outerCredit: DeferredCredit;
  readonly #innerCredit: DeferredCredit;
  /** An event that is being completed; later events and the end queue behind it. */
  #tail: Promise<void> | null = null;
  #leavesOut = false;
  #over = false;

  constructor(outer: MuxStream, sandbox: Sandbox, calls: CallCount, kind: RelayKind) {
    this.#outer = outer;
    this.#sandbox = sandbox;
    this.#calls = calls;
    this.#kind = kind;
    this.#outerCredit = new DeferredCredit((bytes) => outer.consume(bytes));
    this.#innerCredit = new DeferredCredit((bytes) => this.#inner?.consume(bytes));
  }

  begin(): void {
    this.#sandbox.whenRunning(this);
    this.#calls.callBegins(this.#sandbox);
  }

  // Called by the sandbox.

  ready(): void {
    // After a restart of the agent, a sandbox may be running before its boxinit has reconnected.
    this.#sandbox.whenRelinkedOrEnded(RECALL_MS, () => this.#join());
  }

  #join(): void {
    if (this.#over) return;
    this.#queueMs = performance.now() - this.#beganAt;
    const link = this.#sandbox.launched?.link;
    try {
      if (this.#sandbox.ended) throw this.#sandbox.endedError();
      if (link === undefined) throw new ServiceError('node_unavailable', 'the sandbox is being found again');
      this.#inner = link.open(this.#kind.request(this.#sandbox), this.#boxinit);
    } catch (error) {
      // Deferred: the stream's handler is in place only after this returns.
      queueMicrotask(() => this.failed(ServiceError.from(error)));
      return;
    }
    const early = this.#early;
    this.#early = null;
    early?.passTo(this);
  }

  failed(error: ServiceError): void {
    if (!this.#outer.closed) this.#outer.refuse(error);
  }

  // Called by the gateway's side.

  data(channel: number, bytes: Uint8Array): void {
    if (this.#inner === null) return this.#keep((early) => early.data(channel, bytes));
    const length = bytes.length;
    this.#outerCredit.when(this.#inner.write(channel, bytes), length);
  }

  event(message: Json): void {
    const command = this.#kind.takesCommands ? readExecCommand(message) : undefined;
    if (command === undefined) return;
    if (this.#inner === null) this.#keep((early) => early.command(command));
    else this.command(command);
  }

  command(command: ExecCommand): void {
    this.#inner?.urgent(command);
  }

  fin(channel: number): void {
    if (this.#inner === null) this.#keep((early) => early.fin(channel));
    else this.#inner.fin(channel);
  }

  #keep(put: (early: EarlyInput) => boolean): void {
    if (this.#early === null || put(this.#early)) return;
    this.failed(new ServiceError('rate_limited', 'too much was sent before the command could start'));
  }

  closed(error: ServiceError | null): void {
    this.#sandbox.cancel(this);
    this.#calls.callEnds(this.#sandbox);
    this.#early = null;
    if (this.#inner !== null && !this.#inner.closed) {
      // Not a kill: the program continues, and boxinit decides how long it waits for another attach. After `cancelled`,
      // nobody fetches the exit of a killed command.
      if (error === null) this.#inner.end();
      else this.#inner.reset(new ServiceError(error.code === 'cancelled' ? 'cancelled' : 'interrupted', 'detached'));
    }
    this.#finished(error);
  }

  // Called by boxinit's side. Every message is validated; bytes are passed on unchanged.

  readonly #boxinit: StreamHandler = {
    opened: (answer) => {
      const checked = this.#checked(() => this.#kind.opened(answer, this.#queueMs));
      if (checked !== undefined) this.#accept(checked);
    },
    data: (channel, bytes) => {
      const length = bytes.length;
      this.#innerCredit.when(this.#outer.write(channel, bytes), length);
    },
    event: (message) => {
      const checked = this.#checked(() => this.#kind.event(message, this.#sandbox));
      if (checked === undefined) return;
      if (checked instanceof Promise) this.#queue(checked.then((event) => this.#outer.event(event)));
      else if (!this.#leftOut(checked)) this.#inTurn(() => this.#outer.event(checked));
    },
    fin: (channel) => this.#inTurn(() => this.#outer.fin(channel)),
    closed: (error) => {
      if (error !== null) this.#inTurn(() => this.#innerLost(error));
    },
  };

  #accept(answer: Json): void {
    if (this.#kind.accept === undefined) return this.#outer.accept(answer);
    try {
      const later = this.#kind.accept(this.#outer, this.#sandbox, answer);
      if (later !== undefined) this.#queue(later);
    } catch (error) {
      this.failed(ServiceError.from(error));
    }
  }

  /** Whether another message tells, once the link has room, that messages such as this one were left out. */
  #leftOut(message: Json): boolean {
    const instead = this.#outer.crowded === true ? this.#kind.instead?.(message) : undefined;
    if (instead === undefined) return false;
    if (this.#leavesOut) return true;
    if (this.#kind.takes?.(message, this.#sandbox) === true) return false;
    this.#leavesOut = true;
    const tell = (): void => {
      this.#leavesOut = false;
      this.#outer.event(instead);
    };
    this.#queue((this.#tail ?? Promise.resolve()).then(() => whenRoom(this.#outer, tell)));
    return true;
  }

  #innerLost(error: ServiceError): void {
    if (this.#outer.closed) return;
    if (error.code !== 'interrupted') return this.#outer.refuse(cleanError(error));
    this.#sandbox.whenRelinkedOrEnded(RELINK_MS, () => {
      if (this.#outer.closed) return;
      const why = this.#sandbox.ended
        ? this.#sandbox.endedError()
        : new ServiceError('interrupted', 'the connection to the sandbox was lost');
      this.#outer.refuse(why);
    });
  }

  #checked<T>(check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      const failure = ServiceError.from(error);
      this.#sandbox.launched?.link.condemn(failure.message);
      return undefined;
    }
  }

  #inTurn(action: () => void): void {
    if (this.#tail === null) action();
    else this.#queue(this.#tail.then(action));
  }

  #queue(work: Promise<void>): void {
    const tail = work
      .catch((error: unknown) => {
        if (!this.#outer.closed) this.#outer.refuse(ServiceError.from(error));
      })
      .finally(() => {
        if (this.#tail === tail) this.#tail = null;
      });
    this.#tail = tail;
  }

  #finished(error: ServiceError | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#kind.over?.(error);
  }
}
