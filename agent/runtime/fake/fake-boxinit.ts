/**
 * A supervisor within this process: it dials its socket, authenticates and runs execs, as boxinit does in a container.
 */
import net from 'node:net';
import {
  createMux,
  socketTransport,
  type Json,
  type Mux,
  type MuxStream,
  type StreamHandler,
} from '../../../src/mux/index.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { Channel } from '../../../src/protocol/frames.ts';
import type { SupervisorExec } from '../../../src/protocol/supervisor.ts';
import { FakeExec } from './fake-exec.ts';

const REDIAL_MS = 50;

interface FakeBoxinitOptions {
  socketPath: string;
  token: string;
  blank: boolean;
}

export class FakeBoxinit {
  readonly #options: FakeBoxinitOptions;
  readonly #execs = new Map<string, FakeExec>();
  #mux: Mux | null = null;
  #stopped = false;
  #redial: NodeJS.Timeout | undefined;
  #nextPid = 2;

  constructor(options: FakeBoxinitOptions) {
    this.#options = options;
    this.#dial();
  }

  /** The container is killed. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#redial);
    for (const exec of this.#execs.values()) exec.kill('KILL');
    this.#mux?.close();
  }

  /** Drops the connection, then redials. */
  cut(): void {
    this.#mux?.close();
  }

  #dial(): void {
    const socket = net.connect(this.#options.socketPath);
    const again = (): void => {
      this.#mux = null;
      if (!this.#stopped) this.#redial = setTimeout(() => this.#dial(), REDIAL_MS);
    };
    socket.once('error', () => {
      if (this.#mux === null) again();
    });
    socket.once('connect', () => {
      if (this.#stopped) return void socket.destroy();
      const { token, blank } = this.#options;
      this.#mux = createMux({
        transport: socketTransport(socket),
        role: 'dialler',
        hello: { generation: 1, token, version: 'fake', pid: 1, blank },
        onHello: () => undefined,
        onOpen: (stream) => this.#open(stream),
        onClose: again,
      });
    });
  }

  #open(stream: MuxStream): StreamHandler {
    const { request } = stream;
    switch (request['op']) {
      case 'exec':
        return this.#exec(stream, request as unknown as SupervisorExec);
      case 'attach':
        return this.#attach(stream, request);
      case 'list':
        return reply(stream, { execs: [...this.#execs.values()].map(describe) });
      case 'signal':
        this.#find(request).kill(String(request['signal']));
        return reply(stream, {});
      default:
        throw new ServiceError('not_supported', 'the fake sandbox cannot do that');
    }
  }

  #exec(stream: MuxStream, request: SupervisorExec): StreamHandler {
    const known = this.#execs.get(request.id);
    if (known !== undefined) return known.join(stream, { stdout: 0, stderr: 0 }, { pid: known.pid, adopted: true });
    if (request.scriptBytes !== undefined) return this.#script(stream, request, request.scriptBytes);
    return this.#begin(stream, request);
  }

  #begin(stream: MuxStream, request: SupervisorExec): StreamHandler {
    const exec = new FakeExec(request, this.#nextPid++, () => this.#execs.delete(request.id));
    if (!exec.known) throw new ServiceError('exec_program_not_found', `${request.argv?.[0] ?? ''}: not found`);
    this.#execs.set(request.id, exec);
    const handler = exec.join(stream, { stdout: 0, stderr: 0 }, { pid: exec.pid });
    queueMicrotask(() => exec.run());
    return handler;
  }

  /** Receives the script, which comes first, on its own channel. */
  #script(stream: MuxStream, request: SupervisorExec, length: number): StreamHandler {
    const parts: Uint8Array[] = [];
    let inner: StreamHandler | null = null;
    let got = 0;
    return {
      data: (channel, bytes) => {
        if (channel !== Channel.SCRIPT) return inner?.data?.(channel, bytes);
        parts.push(new Uint8Array(bytes));
        got += bytes.length;
        stream.consume(bytes.length);
        if (got < length || inner !== null) return;
        const { scriptBytes: _bytes, ...rest } = request;
        inner = this.#begin(stream, { ...rest, script: Buffer.concat(parts).toString('utf8') });
      },
      event: (message) => inner?.event?.(message),
      fin: (channel) => inner?.fin?.(channel),
      closed: (error) => inner?.closed?.(error),
    };
  }

  #attach(stream: MuxStream, request: Json): StreamHandler {
    const exec = this.#find(request);
    const offsets = { stdout: Number(request['stdout']), stderr: Number(request['stderr']) };
    return exec.join(stream, offsets, { pid: exec.pid, stdinBytes: exec.stdinBytes });
  }

  #find(request: Json): FakeExec {
    const exec = this.#execs.get(String(request['id']));
    if (exec === undefined) throw new ServiceError('exec_not_found');
    return exec;
  }
}

function describe(exec: FakeExec): Json {
  const { id, background, startedAtMs } = exec;
  const state = { id, running: exec.exit === null, background, startedAtMs, ...exec.totals() };
  return exec.exit === null ? state : { ...state, exit: exec.exit };
}

function reply(stream: MuxStream, message: Json): StreamHandler {
  queueMicrotask(() => {
    stream.accept(message);
    stream.end();
  });
  return {};
}
