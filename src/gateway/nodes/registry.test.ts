import { once } from 'node:events';
import { expect, test } from 'vitest';
import { silent } from '../../lib/logger.ts';
import { NodeRegistry, type NodeEvents } from './registry.ts';

const LIMIT_MS = 10_000;
const nobody: NodeEvents = {
  snapshot: () => undefined,
  record: () => undefined,
  forgotten: () => undefined,
  lost: () => undefined,
  room: () => undefined,
};

test('a node that has moved is dialled at its new address, although the dial of the old one still hangs', async () => {
  const dials: string[] = [];
  const registry = new NodeRegistry({
    addresses: [],
    // As where packets are dropped: it ends only when aborted.
    dial: (address) => async (signal) => {
      dials.push(address.url);
      await once(signal, 'abort');
      throw signal.reason;
    },
    graceMs: LIMIT_MS,
    log: silent,
  });
  registry.start(nobody);
  try {
    registry.add({ id: 'a', name: 'a', url: 'ws://10.0.0.1:8701' });
    await expect.poll(() => dials.length, { timeout: LIMIT_MS }).toBe(1);
    registry.add({ id: 'a', name: 'a', url: 'ws://10.0.0.2:8701' });
    await expect.poll(() => dials, { timeout: LIMIT_MS }).toEqual(['ws://10.0.0.1:8701', 'ws://10.0.0.2:8701']);
    registry.add({ id: 'a', name: 'a', url: 'ws://10.0.0.2:8701' });
  } finally {
    await registry.stop();
  }
  expect(dials).toHaveLength(2);
});

test('a node that never connected is lost in the end; a single gateway then knows every sandbox', async () => {
  const lost: string[] = [];
  const registry = new NodeRegistry({
    addresses: [{ name: 'dead', url: 'ws://10.0.0.1:8701' }],
    dial: () => () => Promise.reject(new Error('nobody is there')),
    graceMs: LIMIT_MS,
    neverConnectedMs: 50,
    log: silent,
  });
  registry.start({ ...nobody, lost: ({ name }) => void lost.push(name) });
  try {
    expect(registry.mayHaveMore(false)).toBe(true);
    await expect.poll(() => registry.all[0]?.state, { timeout: LIMIT_MS }).toBe('lost');
    expect(lost).toEqual(['dead']);
    expect(registry.mayHaveMore(false)).toBe(false);
    expect(registry.mayHaveMore(true)).toBe(true);
  } finally {
    await registry.stop();
  }
});
