/**
 * An agent inside the test's process: it speaks src/protocol/node.ts over memory or any other transport, keeps its
 * sandboxes across links, and can be made to refuse, stay silent, lose its links, and lie.
 */
import {
  createMux,
  memoryPair,
  type Json,
  type Mux,
  type MuxStream,
  type StreamHandler,
  type Transport,
} from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { CreateGroup, NodeReport, SandboxRecord, SandboxSpec } from '../../protocol/node.ts';
import type { Dialled } from '../nodes/link.ts';
import { FakeExecs } from './fake-execs.ts';
import { FakeFiles } from './fake-files.ts';

export interface FakeNodeOptions {
  name?: string;
  /** The address the gateway dials. */
  url?: string;
  report?: Partial<NodeReport>;
  /** Sandboxes run as soon as they are created. */
  autoRun?: boolean;
}

export class FakeNode {
  readonly name: string;
  readonly url: string;
  readonly records = new Map<string, SandboxRecord>();
  readonly specs: SandboxSpec[] = [];
  readonly deleted: { id: string; reason: string }[] = [];
  readonly execs = new FakeExecs();
  readonly files = new FakeFiles();
  autoRun: boolean;
  /** Creates are refused with this error. */
  refuse: ServiceError | null = null;
  /** Calls of these ops get no answer. */
  readonly silent = new Set<string>();
  /** Cannot be reached. */
  offline = false;
  /** Knows only what agents knew before batches were introduced. */
  old = false;
  /** The protocol generation. */
  generation = 1;
  /** Its first message is that it takes no new streams. */
  leaving = false;
  /** Number of creates it still accepts; then it has no room. */
  room = Infinity;
  /** Streams that were opened, by `op`. */
  readonly opened = new Map<string, number>();
  /** What the node sends is lost on the way. */
  mute = false;
  /** What is sent to the node is lost on the way. */
  deaf = false;
  /** Takes a stream in place of the node. */
  intercept: ((stream: MuxStream) => StreamHandler | undefined) | null = null;
  report: NodeReport;
  dials = 0;
  #links = new Set<{ mux: Mux; cut: () => void }>();
  #watchers = new Set<MuxStream>();
  #tombstones = new Set<string>();

  constructor({ name = 'node-a', url = `ws://${name}`, report = {}, autoRun = true }: FakeNodeOptions = {}) {
    this.name = name;
    this.url = url;
    this.autoRun = autoRun;
    this.report = {
      name,
      version: '0',
      runtime: 'fake',
      cpus: 8,
      memoryMb: 16_384,
      memoryFreeMb: 16_384,
      maxSandboxes: 1_000,
      sandboxes: 0,
      draining: false,
      pools: [{ key: '*', warm: 10, starting: 0, target: 10 }],
      images: ['image'],
      defaultImage: 'image',
      ...report,
    };
  }

  /** What the gateway dials. */
  readonly dial = (): Promise<Dialled> => {
    this.dials += 1;
    if (this.offline) return Promise.reject(new Error('connection refused'));
    const pair = memoryPair();
    this.serve(pair.b, () => pair.cut());
    const hello = { generation: this.generation, node: this.name, version: '0', bootId: 'boot', proof: 'proof' };
    return Promise.resolve({ transport: this.#lossy(pair.a), checkHello: () => hello });
  };

  /** The gateway's end of a link on which bytes get lost while the node is mute or deaf. */
  #lossy(end: Transport): Transport {
    return {
      send: (bytes, sent) => (this.deaf ? queueMicrotask(sent) : end.send(bytes, sent)),
      start: (onBytes, onClose) => end.start((chunk) => (this.mute ? undefined : onBytes(chunk)), onClose),
      close: (error) => end.close(error),
    };
  }

  /** Answers on a transport that was accepted. */
  serve(transport: Parameters<typeof createMux>[0]['transport'], cut: () => void = () => undefined): Mux {
    const mux = createMux({
      transport,
      role: 'listener',
      hello: { generation: 1, node: this.name, version: '0', bootId: 'boot', proof: 'proof' },
      onHello: () => undefined,
      onOpen: (stream) => this.#open(stream),
      onClose: () => void this.#links.delete(link),
    });
    if (this.leaving) mux.goaway();
    const link = { mux, cut };
    this.#links.add(link);
    return mux;
  }

  get linked(): boolean {
    return this.#links.size > 0;
  }

  /** Cuts all links; the node itself lives on. */
  cut(): void {
    for (const link of [...this.#links]) link.cut();
    this.#links.clear();
    this.#watchers.clear();
  }

  /** Cuts all links and cannot be dialled. */
  vanish(): void {
    this.offline = true;
    this.cut();
  }

  set(id: string, change: Partial<SandboxRecord>): void {
    const record = this.records.get(id);
    if (record === undefined) throw new Error(`no sandbox ${id}`);
    const next = { ...record, ...change };
    this.records.set(id, next);
    this.tell({ type: 'sandbox', sandbox: next });
  }

  run(id: string): void {
    this.set(id, { status: 'RUNNING', startedAtMs: Date.now(), timings: { placedMs: 1, runningMs: 2, warm: true } });
  }

  setReport(change: Partial<NodeReport>): void {
    this.report = { ...this.report, ...change };
    this.tell({ type: 'node', node: this.report });
  }

  /** Sends an event on the watch streams, true or not. */
  tell(event: Json): void {
    for (const watcher of this.#watchers) watcher.event(event);
  }

  #open(stream: MuxStream): StreamHandler {
    const { request } = stream;
    const op = String(request['op']);
    this.opened.set(op, (this.opened.get(op) ?? 0) + 1);
    const taken = this.intercept?.(stream);
    if (taken !== undefined) return taken;
    if (this.silent.has(op)) return {};
    switch (op) {
      case 'watch':
        queueMicrotask(() => {
          this.#watchers.add(stream);
          const sandboxes = [...this.records.values()];
          stream.event({ type: 'snapshot', node: this.report, sandboxes: sandboxes.slice(0, 1), more: true });
          stream.event({ type: 'snapshot', node: this.report, sandboxes: sandboxes.slice(1), more: false });
        });
        return { closed: () => void this.#watchers.delete(stream) };
      case 'create':
        return this.#answer(stream, () => this.#create(request['spec'] as SandboxSpec));
      case 'createMany':
        if (this.old) throw new ServiceError('not_supported');
        return this.#answer(stream, () => this.#createMany(request['groups'] as CreateGroup[]));
      case 'delete':
        return this.#answer(stream, () => this.#delete(request));
      case 'extend':
        return this.#answer(stream, () => {
          const id = String(request['sandbox']);
          this.set(id, { expiresAtMs: Number(request['expiresAtMs']) });
          return { ...this.records.get(id) };
        });
      case 'drain':
        return this.#answer(stream, () => {
          const { on, deadlineMs } = request;
          const drainDeadlineMs = on === true && typeof deadlineMs === 'number' ? Date.now() + deadlineMs : null;
          this.setReport({ draining: on === true, drainDeadlineMs });
          return {};
        });
      case 'cordon':
        return this.#answer(stream, () => {
          this.setReport({ cordoned: request['on'] === true });
          return {};
        });
      case 'image-pull':
        queueMicrotask(() => {
          stream.accept();
          stream.end();
        });
        return {};
      case 'exec':
      case 'attach':
      case 'execs':
      case 'signal':
        return this.#inSandbox(request, () => this.execs.open(stream));
      case 'file':
        return this.#inSandbox(request, () => this.files.open(stream));
      case 'port':
        return this.#inSandbox(request, () => echo(stream));
      default:
        throw new ServiceError('not_supported');
    }
  }

  #inSandbox(request: Json, open: () => StreamHandler): StreamHandler {
    const record = this.records.get(String(request['sandbox']));
    if (record === undefined) throw new ServiceError('sandbox_not_found');
    if (record.status !== 'RUNNING') throw new ServiceError('sandbox_ended');
    return open();
  }

  #createMany(groups: readonly CreateGroup[]): Json {
    const refused: Json[] = [];
    for (const { spec, ids } of groups) {
      for (const id of ids) {
        try {
          this.#create({ ...spec, id });
        } catch (error) {
          refused.push({ ids: [id], error: ServiceError.from(error).toWire() });
        }
      }
    }
    return { refused };
  }

  /** As a create that arrives now. @throws ServiceError it is refused with */
  make(spec: SandboxSpec): void {
    this.#create(spec);
  }

  #create(spec: SandboxSpec): Json {
    if (this.refuse !== null) throw this.refuse;
    if (this.room <= 0) throw new ServiceError('capacity_exhausted');
    this.room -= 1;
    this.specs.push(spec);
    const { env: _env, secrets: _secrets, startCommand: _start, idleTimeoutMs: _idle, sentAtMs: _sent, ...rest } = spec;
    const known = this.records.get(spec.id);
    if (known !== undefined) return { ...known };
    if (this.#tombstones.has(spec.id)) throw new ServiceError('sandbox_ended');
    const record: SandboxRecord = {
      ...rest,
      status: 'PROVISIONING',
      reason: null,
      message: null,
      startedAtMs: null,
      endedAtMs: null,
      timings: { placedMs: 1 },
    };
    this.records.set(spec.id, record);
    if (this.autoRun) this.run(spec.id);
    return { ...record };
  }

  #delete({ sandbox, reason: why, message }: Json): Json {
    const [id, reason] = [String(sandbox), String(why)];
    this.deleted.push({ id, reason });
    this.#tombstones.add(id);
    if (!this.records.has(id)) throw new ServiceError('sandbox_not_found');
    const said = typeof message === 'string' ? message : null;
    this.set(id, { status: 'TERMINATED', reason: 'deleted', message: said, endedAtMs: Date.now() });
    return { ...this.records.get(id) };
  }

  #answer(stream: MuxStream, work: () => Json): StreamHandler {
    queueMicrotask(() => {
      try {
        const answer = work();
        if (stream.closed) return;
        stream.accept(answer);
        stream.end();
      } catch (error) {
        stream.refuse(ServiceError.from(error));
      }
    });
    return {};
  }
}

/** A server inside that echoes everything. */
function echo(stream: MuxStream): StreamHandler {
  queueMicrotask(() => stream.accept());
  return {
    data: (channel, bytes) => {
      const { length } = bytes;
      const drained = stream.write(channel, bytes);
      if (drained === undefined) stream.consume(length);
      else void drained.then(() => stream.consume(length));
    },
    fin: () => stream.end(),
  };
}
