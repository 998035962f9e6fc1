import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silent } from '../../lib/logger.ts';
import type { NodeAddress } from '../config.ts';
import { Node, type Standing } from '../nodes/node.ts';
import { keyOf, type DiscoveredNode, type Publish } from './discovery.ts';
import { RegistrySync } from './registry-sync.ts';

const LEAVE_MS = 60_000;
const EMPTY_MS = 10_000;

/** Records what the sync does to a registry. */
class Registry {
  discovering = false;
  readonly nodes = new Map<string, Node>();
  readonly removed: string[] = [];

  add(address: NodeAddress): void {
    const known = this.nodes.get(keyOf(address));
    if (known === undefined) this.nodes.set(keyOf(address), new Node(address.url, address.name));
    else known.url = address.url;
  }
  get(key: string): Node | undefined {
    return this.nodes.get(key);
  }
  setStanding(key: string, standing: Standing): void {
    const node = this.nodes.get(key);
    if (node !== undefined) node.standing = standing;
  }
  remove(key: string): Promise<void> {
    this.removed.push(key);
    this.nodes.delete(key);
    return Promise.resolve();
  }
}

let registry: Registry;
let publish: (nodes: Parameters<Publish>[0], complete?: boolean) => void;
let sync: RegistrySync;

beforeEach(() => {
  vi.useFakeTimers();
  registry = new Registry();
  sync = new RegistrySync({
    discovery: {
      start: (given) => void (publish = (nodes, complete = true) => given(nodes, complete)),
      stop: () => Promise.resolve(),
    },
    registry,
    leaveMs: LEAVE_MS,
    emptyMs: EMPTY_MS,
    log: silent,
    now: () => Date.now(),
  });
  sync.start();
});
afterEach(async () => {
  await sync.stop();
  vi.useRealTimers();
});

const named = (id: string, more: Partial<DiscoveredNode> = {}): DiscoveredNode => ({
  id,
  name: id,
  url: `ws://${id}:8701`,
  standing: 'in',
  reason: null,
  ...more,
});
const busy = (key: string, live = 1): void => {
  const node = registry.get(key);
  if (node === undefined) throw new Error(`no node ${key}`);
  node.live = live;
  node.state = 'up';
};
const standing = (key: string): Standing | undefined => registry.get(key)?.standing;

test('until discovery has published, it is unknown which nodes exist', () => {
  expect(registry.discovering).toBe(true);
  publish([]);
  expect(registry.discovering).toBe(false);
});

test('after an incomplete list it is unknown whether all nodes are known, until a complete one arrives', () => {
  publish([named('a')], false);
  expect([...registry.nodes.keys()]).toEqual(['a']);
  expect(registry.discovering).toBe(true);
  publish([named('a'), named('b')]);
  expect(registry.discovering).toBe(false);
  // A node added later was not there before.
  publish([named('a'), named('b')], false);
  expect(registry.discovering).toBe(false);
});

test('nodes are added, cordoned, and uncordoned again', () => {
  publish([named('a'), named('b', { standing: 'cordoned', reason: 'for a test' })]);
  expect([standing('a'), standing('b')]).toEqual(['in', 'cordoned']);
  publish([named('a', { standing: 'leaving' }), named('b')]);
  expect([standing('a'), standing('b')]).toEqual(['leaving', 'in']);
  expect(registry.removed).toEqual([]);
});

test('a node with another address is the same node', () => {
  publish([named('a')]);
  const before = registry.get('a');
  publish([named('a', { url: 'ws://[fd00::1]:8701' })]);
  expect(registry.get('a')).toBe(before);
  expect(before?.url).toBe('ws://[fd00::1]:8701');
});

test('a node no longer listed that has no sandboxes is removed at once', () => {
  publish([named('a'), named('b')]);
  publish([named('a')]);
  expect(registry.removed).toEqual(['b']);
});

test('one that has sandboxes is removed with the last of them', async () => {
  publish([named('a'), named('b')]);
  busy('b', 2);
  publish([named('a')]);
  await vi.advanceTimersByTimeAsync(LEAVE_MS / 2);
  expect(standing('b')).toBe('leaving');
  busy('b', 0);
  await vi.advanceTimersByTimeAsync(1_100);
  expect(registry.removed).toEqual(['b']);
});

test('its sandboxes get the configured time and no longer', async () => {
  publish([named('a'), named('b')]);
  busy('b');
  publish([named('a')]);
  await vi.advanceTimersByTimeAsync(LEAVE_MS - 2_000);
  expect(registry.removed).toEqual([]);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(registry.removed).toEqual(['b']);
});

test('when it is lost it is removed too', async () => {
  publish([named('a'), named('b')]);
  busy('b');
  publish([named('a')]);
  (registry.get('b') as Node).state = 'lost';
  await vi.advanceTimersByTimeAsync(1_100);
  expect(registry.removed).toEqual(['b']);
});

test('one that is listed again before it was removed has lost nothing', async () => {
  publish([named('a'), named('b')]);
  busy('b');
  const node = registry.get('b');
  publish([named('a')]);
  await vi.advanceTimersByTimeAsync(5_000);
  publish([named('a'), named('b', { url: 'ws://elsewhere:8701' })]);
  await vi.advanceTimersByTimeAsync(2 * LEAVE_MS);
  expect(registry.get('b')).toBe(node);
  expect(standing('b')).toBe('in');
});

test('an empty list is not believed at once, however often it is published', async () => {
  publish([named('a'), named('b')]);
  for (let i = 0; i < 9; i++) {
    publish([]);
    await vi.advanceTimersByTimeAsync(EMPTY_MS / 10);
  }
  expect([standing('a'), standing('b')]).toEqual(['in', 'in']);
  publish([named('a'), named('b')]);
  publish([]);
  await vi.advanceTimersByTimeAsync(EMPTY_MS - 1);
  expect(registry.removed).toEqual([]);
  await vi.advanceTimersByTimeAsync(2);
  expect(registry.removed).toEqual(['a', 'b']);
});

test('what is published after stop is ignored', async () => {
  await sync.stop();
  publish([named('a')]);
  expect(registry.nodes.size).toBe(0);
});

test('a registry that fails does not break the discovery that publishes', () => {
  registry.add = () => {
    throw new Error('an error of the test');
  };
  expect(() => publish([named('a')])).not.toThrow();
});
