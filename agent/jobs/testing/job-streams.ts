/** Both sides of a job: the streams of the gateways that read it, and the streams to boxinit. */
import type { Json, StreamHandler } from '../../../src/mux/index.ts';
import { ServiceError, type ErrorCode } from '../../../src/protocol/errors.ts';
import { newRecord, Sandbox } from '../../sandboxes/sandbox.ts';
import { newSpec } from '../../testing/harness.ts';

export const NO_CALLS = { callBegins: () => undefined, callEnds: () => undefined };
/** What boxinit reports for a command that wrote nothing. */
export const EXIT = {
  type: 'exit',
  exitCode: 0,
  signal: null,
  timedOut: false,
  oomKilled: false,
  stdoutBytes: 0,
  stderrBytes: 0,
  durationMs: 1,
};

/** A stream to boxinit. Like any stream, it breaks if data follows a FIN. */
export class BoxinitStream {
  closed = false;
  readonly request: Json;
  readonly handler: StreamHandler;
  readonly messages: Json[] = [];
  readonly fins: number[] = [];
  input = '';
  /** The exit was acknowledged. */
  ended = false;
  left: ServiceError | null = null;

  constructor(request: Json, handler: StreamHandler) {
    this.request = request;
    this.handler = handler;
  }
  write(channel: number, bytes: Uint8Array): void {
    if (this.fins.includes(channel)) return this.cut('internal');
    this.input += Buffer.from(bytes).toString();
  }
  urgent(message: Json): void {
    this.messages.push(message);
  }
  fin(channel: number): void {
    this.fins.push(channel);
  }
  end(): void {
    this.ended = true;
  }
  reset(error: ServiceError): void {
    this.closed = true;
    this.left = error;
  }
  consume(): void {}
  cut(code: ErrorCode = 'interrupted'): void {
    this.closed = true;
    this.handler.closed?.(new ServiceError(code));
  }
}

/** A gateway's stream. */
export class GatewayStream {
  closed = false;
  readonly request: Json;
  handler: StreamHandler = {};
  accepted = false;
  consumed = 0;
  refused: ServiceError | null = null;

  constructor(request: Json) {
    this.request = request;
  }
  accept(): void {
    this.accepted = true;
  }
  event(): void {}
  end(): void {}
  refuse(error: ServiceError): void {
    if (this.closed) return;
    this.closed = true;
    this.refused = error;
    this.handler.closed?.(error);
  }
  consume(bytes: number): void {
    this.consumed += bytes;
  }
}

/** A running sandbox, and the streams opened to its boxinit. */
export function runningSandbox(): { sandbox: Sandbox; inners: BoxinitStream[] } {
  const spec = newSpec();
  const sandbox = new Sandbox(spec, newRecord(spec, Date.now()));
  sandbox.move('PROVISIONING');
  sandbox.move('RUNNING');
  const inners: BoxinitStream[] = [];
  const open = (request: Json, handler: StreamHandler): BoxinitStream => {
    const inner = new BoxinitStream(request, handler);
    inners.push(inner);
    return inner;
  };
  sandbox.launched = { link: { connected: true, open } } as unknown as Sandbox['launched'];
  return { sandbox, inners };
}
