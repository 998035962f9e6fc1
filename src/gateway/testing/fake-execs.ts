/**
 * Commands of a fake node. The command is a small script in JSON: what to write, what to wait for, how to end. Each id
 * runs once; output and exit are kept until they are acknowledged, as boxinit does.
 */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import { sendBytes } from '../streams/send.ts';

/** JSON in `command`. Steps run in this order. */
export interface FakeScript {
  /** Refused with this code. */
  refuse?: ConstructorParameters<typeof ServiceError>[0];
  stdout?: string;
  /** How many times to repeat it. */
  repeat?: number;
  stderr?: string;
  /** Sends stdin back once it has ended. */
  cat?: boolean;
  /** Runs until it is killed or released (`FakeExecs.finish`). */
  hang?: boolean;
  exit?: number;
  /** Reports that its timeout expired. */
  timedOut?: boolean;
  /** The answer to its first OPEN is never sent. */
  mute?: boolean;
  /** An invalid exit, or none at all. */
  lie?: 'no exit' | 'bad exit';
}

export interface FakeExec {
  id: string;
  script: FakeScript;
  request: Json;
  out: Buffer;
  err: Buffer;
  stdin: Buffer[];
  exit: Json | null;
  killed: boolean;
  detaches: number;
  stream: MuxStream | null;
  /** Answers held back until it ends. */
  waiting: (() => void)[];
}

export class FakeExecs {
  readonly all = new Map<string, FakeExec>();
  readonly started: string[] = [];
  readonly acknowledged: string[] = [];
  readonly signals: Json[] = [];
  /** As agents do, except older ones. */
  holdsBack = true;
  /** How many times it was asked for its commands. */
  looks = 0;
  #onStart = new Set<() => void>();

  open(stream: MuxStream): StreamHandler {
    const { request } = stream;
    const id = String(request['id']);
    switch (request['op']) {
      case 'exec':
        return this.#exec(stream, id);
      case 'attach': {
        const exec = this.all.get(id);
        if (exec === undefined) throw new ServiceError('exec_not_found');
        return this.#listen(exec, stream, { pid: 1, stdinBytes: Buffer.concat(exec.stdin).length }, request);
      }
      case 'signal':
        if (!this.all.has(id)) throw new ServiceError('exec_not_found');
        this.signals.push(request);
        queueMicrotask(() => {
          stream.accept();
          stream.end();
        });
        return {};
      default:
        queueMicrotask(() => this.#look(stream));
        return {};
    }
  }

  /** Lets a hanging command end. */
  finish(id: string, exit = 0): void {
    const exec = this.all.get(id);
    if (exec !== undefined) this.#end(exec, exit);
  }

  /** More output of a running command. */
  say(id: string, text: string): void {
    const exec = this.all.get(id);
    if (exec === undefined) return;
    exec.out = Buffer.concat([exec.out, Buffer.from(text)]);
    void exec.stream?.write(Channel.STDOUT, Buffer.from(text));
  }

  /** Resolves when this many commands have been started. */
  async startedCount(count: number): Promise<void> {
    while (this.started.length < count) await new Promise<void>((resolve) => this.#onStart.add(resolve));
  }

  #exec(stream: MuxStream, id: string): StreamHandler {
    const known = this.all.get(id);
    const { request } = stream;
    if (known !== undefined) {
      const stdinBytes = Buffer.concat(known.stdin).length;
      return this.#listen(known, stream, { pid: 1, adopted: true, stdinBytes }, {});
    }
    const scriptBytes = Number(request['scriptBytes'] ?? 0);
    if (scriptBytes === 0) return this.#start(stream, id, parse(request['command']));
    // The script arrives on a channel of its own.
    const chunks: Buffer[] = [];
    let inner: StreamHandler | null = null;
    return {
      data: (channel, bytes) => {
        stream.consume(bytes.length);
        if (channel === Channel.SCRIPT) chunks.push(Buffer.from(bytes));
        else inner?.data?.(channel, bytes);
      },
      event: (message) => inner?.event?.(message),
      fin: (channel) => {
        if (channel === Channel.SCRIPT) inner = this.#start(stream, id, parse(Buffer.concat(chunks).toString()));
        else inner?.fin?.(channel);
      },
      closed: (error) => inner?.closed?.(error),
    };
  }

  #start(stream: MuxStream, id: string, script: FakeScript): StreamHandler {
    if (script.refuse !== undefined) throw new ServiceError(script.refuse);
    const exec: FakeExec = {
      id,
      script,
      request: stream.request,
      out: Buffer.from((script.stdout ?? '').repeat(script.repeat ?? 1)),
      err: Buffer.from(script.stderr ?? ''),
      stdin: [],
      exit: null,
      killed: false,
      detaches: 0,
      waiting: [],
      stream: null,
    };
    this.all.set(id, exec);
    this.started.push(id);
    for (const tell of this.#onStart) tell();
    this.#onStart.clear();
    const handler = this.#listen(exec, stream, script.mute ? null : { pid: 1, queueMs: 0 }, {});
    if (!script.hang && !script.cat) this.#end(exec, script.exit ?? 0);
    return handler;
  }

  #listen(exec: FakeExec, stream: MuxStream, answer: Json | null, from: Json): StreamHandler {
    exec.stream?.reset(new ServiceError('cancelled', 'taken over'));
    exec.stream = stream;
    queueMicrotask(() => {
      if (answer === null) return;
      stream.accept(answer);
      const out = exec.out.subarray(Number(from['stdout'] ?? 0));
      const err = exec.err.subarray(Number(from['stderr'] ?? 0));
      void (async () => {
        await sendBytes(stream, Channel.STDOUT, out);
        await sendBytes(stream, Channel.STDERR, err);
        if (exec.exit !== null) this.#tell(exec);
      })();
    });
    return {
      data: (channel, bytes) => {
        if (channel === Channel.STDIN) exec.stdin.push(Buffer.from(bytes));
        stream.consume(bytes.length);
      },
      event: (message) => {
        if (message['type'] === 'kill') {
          exec.killed = true;
          this.#end(exec, 137);
        } else this.signals.push(message);
      },
      fin: (channel) => {
        if (channel === Channel.STDIN && exec.script.cat) {
          exec.out = Buffer.concat([exec.out, ...exec.stdin]);
          void sendBytes(stream, Channel.STDOUT, Buffer.concat(exec.stdin)).then(() =>
            this.#end(exec, exec.script.exit ?? 0),
          );
        }
        if (channel === Channel.ALL && exec.exit !== null) {
          this.acknowledged.push(exec.id);
          this.all.delete(exec.id);
        }
      },
      closed: (error) => {
        if (exec.stream === stream) exec.stream = null;
        if (error !== null) exec.detaches += 1;
      },
    };
  }

  #end(exec: FakeExec, exitCode: number): void {
    if (exec.exit !== null) return;
    exec.exit = {
      type: 'exit',
      exitCode: exec.script.lie === 'bad exit' ? 'zero' : exitCode,
      signal: exec.killed ? 'KILL' : null,
      timedOut: exec.script.timedOut ?? false,
      oomKilled: false,
      stdoutBytes: exec.out.length,
      stderrBytes: exec.err.length,
      durationMs: 1,
    };
    // After the output, which is in flight.
    if (exec.script.hang || exec.script.cat) this.#tell(exec);
    for (const answer of exec.waiting.splice(0)) answer();
  }

  #tell(exec: FakeExec): void {
    const { stream } = exec;
    if (stream === null || exec.exit === null) return;
    if (exec.script.lie !== 'no exit') stream.event(exec.exit);
    stream.end();
  }

  #look(stream: MuxStream): void {
    const { ids, waitMs } = stream.request as { ids?: string[]; waitMs?: number };
    this.looks += 1;
    const answer = (): void => {
      stream.accept({ execs: this.#list(ids) });
      stream.end();
    };
    const job = this.all.get(ids?.[0] ?? '');
    if (waitMs === undefined || job?.exit !== null || !this.holdsBack) return answer();
    const timer = setTimeout(answer, waitMs);
    job.waiting.push(() => {
      clearTimeout(timer);
      answer();
    });
  }

  #list(ids: string[] | undefined): Json[] {
    return [...this.all.values()]
      .filter((exec) => ids?.includes(exec.id) ?? true)
      .map((exec) => ({
        execId: exec.id,
        state: exec.exit === null ? 'running' : 'exited',
        background: exec.request['background'] === true,
        attached: exec.stream !== null,
        startedAt: new Date(0).toISOString(),
        stdoutBytes: exec.out.length,
        stderrBytes: exec.err.length,
        exit: exec.exit,
      }));
  }
}

function parse(command: unknown): FakeScript {
  try {
    return JSON.parse(String(command).replace(/^#.*\n/, '')) as FakeScript;
  } catch {
    return { stdout: String(command) };
  }
}
