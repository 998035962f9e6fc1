import { expect, test } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { createMux, memoryPair, type Json, type MuxStream } from '../../src/mux/index.ts';
import type { ServiceError } from '../../src/protocol/errors.ts';
import { MAX_CONTROL_BYTES } from '../../src/protocol/limits.ts';
import { NodeReport, pendingRecord, type SandboxRecord, type WatchEvent } from '../../src/protocol/node.ts';
import type { Images } from '../runtime/runtime.ts';
import type { SandboxChange } from '../sandboxes/ledger.ts';
import { newSpec } from '../testing/harness.ts';
import { ImageList } from './image-list.ts';
import { watch, type FeedSource } from './watch.ts';

const POOL = { key: 'p'.repeat(200), warm: 0, starting: 0, target: 0 };

const reportWith = (changes: Partial<NodeReport> = {}): NodeReport => ({
  name: 'node',
  version: '0',
  runtime: 'fake',
  cpus: 1,
  memoryMb: 1,
  memoryFreeMb: 1,
  maxSandboxes: 1,
  sandboxes: 0,
  draining: false,
  pools: [],
  images: [],
  defaultImage: 'image',
  ...changes,
});

/** Records with labels that take three bytes per character. */
function records(count: number): SandboxRecord[] {
  const labels = Object.fromEntries(Array.from({ length: 32 }, (_, i) => [`k${i}`, '箱'.repeat(256)]));
  return Array.from({ length: count }, () => pendingRecord(newSpec({ labels })));
}

interface Feed extends FeedSource {
  emit(change: SandboxChange): void;
}

function feedOf(report: NodeReport, list: SandboxRecord[]): Feed {
  const listeners = new Set<(change: SandboxChange) => void>();
  return {
    report: () => report,
    list: () => list,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onReport: () => () => undefined,
    emit: (change) => {
      for (const listener of listeners) listener(change);
    },
  };
}

/** What a gateway of any version makes of the events. */
class GatewayView {
  readonly sandboxes = new Map<string, SandboxRecord>();
  report: NodeReport | null = null;
  up = false;

  take(event: WatchEvent): void {
    if (event.type === 'snapshot') {
      expect(this.up).toBe(false);
      this.report = NodeReport.parse(event.node);
      for (const record of event.sandboxes) this.sandboxes.set(record.id, record);
      this.up = !event.more;
    } else if (event.type === 'sandbox') this.sandboxes.set(event.sandbox.id, event.sandbox);
    else if (event.type === 'forgotten') for (const id of event.ids) this.sandboxes.delete(id);
  }
}

async function imagesOf(refs: readonly string[]): Promise<string[]> {
  const images = { list: async () => refs.map((ref) => ({ ref, id: ref, sizeBytes: 0, inUse: false })) };
  const list = new ImageList(images as unknown as Images, () => undefined, silent);
  await list.look();
  list.close();
  return list.refs();
}

test('no message of a snapshot exceeds the limit, whatever the node has, and the last one carries the report', async () => {
  const refs = Array.from({ length: 10_000 }, (_, i) => `${'registry.example/'.padEnd(400, 'x')}${i}`);
  const pools = [...Array.from({ length: 4_096 }, () => POOL), { ...POOL, key: 'warm', warm: 1 }];
  const images = await imagesOf(refs);
  const list = records(200);
  const feed = feedOf(reportWith({ images, pools }), list);
  const pair = memoryPair();
  const agent = createMux({
    transport: pair.b,
    role: 'listener',
    hello: {},
    onHello: () => undefined,
    onOpen: (stream) => watch(stream, feed),
  });
  const gateway = createMux({ transport: pair.a, role: 'dialler', hello: {}, onHello: () => undefined });
  const view = new GatewayView();
  const over = Promise.withResolvers<ServiceError | null>();
  gateway.open(
    { op: 'watch' },
    {
      event: (message) => {
        view.take(message as unknown as WatchEvent);
        if (view.up) over.resolve(null);
      },
      closed: (error) => over.resolve(error),
    },
  );
  expect(await over.promise).toBeNull();
  expect([...view.sandboxes.keys()].sort()).toEqual(list.map(({ id }) => id).sort());
  expect(view.report?.images).toEqual(images);
  expect(images.length).toBeGreaterThan(1_000);
  expect(view.report?.pools[0]).toMatchObject({ key: 'warm' });
  expect(view.report?.pools.length).toBeGreaterThan(500);
  gateway.close();
  agent.close();
});

/** A stream whose reader reads nothing until released. */
class SlowStream {
  closed = false;
  backlog = 0;
  readonly sizes: number[] = [];
  readonly view = new GatewayView();
  onEvent: () => void = () => undefined;
  accept(): void {}
  end(): void {}
  event(message: Json): void {
    const bytes = Buffer.byteLength(JSON.stringify(message));
    this.sizes.push(bytes);
    this.backlog += bytes;
    this.view.take(message as unknown as WatchEvent);
    this.onEvent();
  }
}

const turns = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('a snapshot waits for a peer that does not read, and only a few of its parts are ever queued on the link', async () => {
  const stream = new SlowStream();
  watch(stream as unknown as MuxStream, feedOf(reportWith(), records(400)));
  let most = 0;
  while (!stream.view.up) {
    await turns(10);
    most = Math.max(most, stream.backlog);
    stream.backlog = 0;
  }
  expect(stream.view.sandboxes.size).toBe(400);
  expect(most).toBeLessThan(2 * 1024 * 1024);
  expect(Math.max(...stream.sizes)).toBeLessThan(MAX_CONTROL_BYTES / 2);
});

test('a change during a snapshot is not overwritten by a later part of it', async () => {
  const stream = new SlowStream();
  const list = records(200);
  const [first, last, gone] = [list[0]!, list.at(-1)!, list.at(-2)!];
  const feed = feedOf(reportWith(), list);
  stream.onEvent = () => {
    stream.onEvent = () => undefined;
    for (const record of [first, last]) feed.emit({ type: 'changed', record: { ...record, status: 'RUNNING' } });
    feed.emit({ type: 'forgotten', id: gone.id });
  };
  const handler = watch(stream as unknown as MuxStream, feed);
  while (!stream.view.up) {
    await turns(1);
    stream.backlog = 0;
  }
  const { sandboxes } = stream.view;
  expect([sandboxes.get(first.id)?.status, sandboxes.get(last.id)?.status]).toEqual(['RUNNING', 'RUNNING']);
  expect([sandboxes.has(gone.id), sandboxes.size]).toEqual([false, 199]);
  handler.closed?.(null);
});

test('a snapshot ends with its stream', async () => {
  const stream = new SlowStream();
  watch(stream as unknown as MuxStream, feedOf(reportWith(), records(400)));
  await turns(20);
  const sent = stream.sizes.length;
  stream.closed = true;
  stream.backlog = 0;
  await turns(20);
  expect([stream.sizes.length, stream.view.up]).toEqual([sent, false]);
});
