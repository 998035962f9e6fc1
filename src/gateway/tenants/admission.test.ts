/** Whatever happens to its sandboxes, a tenant never has more than its limits, and gets all of its quota back. */
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { silent } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { pendingRecord, type SandboxSpec } from '../../protocol/node.ts';
import { CreateSandboxRequest } from '../../protocol/sandbox.ts';
import { Node } from '../nodes/node.ts';
import type { Entry } from '../sandboxes/entry.ts';
import { specsOf } from '../sandboxes/spec.ts';
import { Store } from '../sandboxes/store.ts';
import type { AdmissionRequest, Verdict } from './counters.ts';
import { parseTenants } from './file.ts';
import { MemoryCounters } from './memory-counters.ts';
import { startTenancy } from './tenancy.ts';

const MOST = { sandboxes: 6, cpus: 4, memoryMb: 3_000 };

type Step =
  | { do: 'create'; count: number; cpus: number; memoryMb: number }
  | { do: 'send' | 'accept' | 'refuse' | 'end'; which: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('create' as const),
    count: fc.integer({ min: 1, max: 4 }),
    cpus: fc.constantFrom(0.1, 0.3, 1, 1.5),
    memoryMb: fc.constantFrom(16, 500, 1_000),
  }),
  fc.record({
    do: fc.constantFrom('send' as const, 'accept' as const, 'refuse' as const, 'end' as const),
    which: fc.nat({ max: 1_000 }),
  }),
);

/** The tenancy of one gateway, with the tenant `red`. */
function tenancyOf(store: Store, red: object, counters: MemoryCounters) {
  return startTenancy({
    file: parseTenants({ tenants: { red } }),
    counters,
    store,
    learning: () => false,
    connectedNodes: () => 1,
    informed: () => true,
    queueWaitMs: 600_000,
    metrics: new Registry(),
    log: silent,
  });
}

function world() {
  const store = new Store(silent);
  const { admission, stop } = tenancyOf(store, MOST, new MemoryCounters());
  const nodes = ['a', 'b'].map((name) => new Node(`ws://${name}`, name));
  const entries: Entry[] = [];
  const alive = (): Entry[] => entries.filter((entry) => !entry.ended);
  /** Whether they were admitted. */
  const create = async (count: number, size: { cpus: number; memoryMb: number }): Promise<boolean> => {
    const specs = specsOf('red', CreateSandboxRequest.parse({ count, ...size }), 'image', Date.now());
    try {
      await admission.admit('red', specs);
    } catch (error) {
      expect(['quota_exceeded', 'invalid_request']).toContain(ServiceError.from(error).code);
      return false;
    }
    for (const spec of specs) entries.push(store.add(pendingRecord(spec)));
    return true;
  };
  return {
    alive,
    create,
    change({ do: what, which }: Exclude<Step, { do: 'create' }>): void {
      const entry = entries[which % Math.max(1, entries.length)];
      const node = nodes[which % nodes.length];
      if (entry === undefined || node === undefined) return;
      if (what === 'send' && entry.node === null && !entry.ended) store.assign(entry, node);
      if (what === 'refuse' && entry.node !== null && !entry.accepted && !entry.ended) store.assign(entry, null);
      if (what === 'accept' && entry.node !== null) {
        store.take(entry.node, { ...entry.record, status: entry.ended ? entry.record.status : 'PROVISIONING' });
      }
      if (what === 'end') store.end(entry, 'deleted', null);
    },
    /** All sandboxes end; the tenant can then have as many as at first. */
    async end(): Promise<void> {
      for (const entry of alive()) store.end(entry, 'deleted', null);
      expect(await create(MOST.sandboxes, { cpus: 0.1, memoryMb: 16 })).toBe(true);
      store.stop();
      await stop();
    },
  };
}

test('a refusal states the usage at the time of the decision, and never more than the limit', async () => {
  const store = new Store(silent);
  const node = new Node('ws://a', 'a');
  /** Returns its verdict only once the sandboxes it concerns are on a node. */
  class Slow extends MemoryCounters {
    override async admit(request: AdmissionRequest): Promise<Verdict> {
      const verdict = await super.admit(request);
      for (const { record } of [...store.of('red', null)]) store.take(node, { ...record, status: 'RUNNING' });
      return verdict;
    }
  }
  const tenancy = tenancyOf(store, { sandboxes: 2 }, new Slow());
  const specs = (count: number): SandboxSpec[] =>
    specsOf('red', CreateSandboxRequest.parse({ count }), 'image', Date.now());
  const first = specs(2);
  await tenancy.admission.admit('red', first);
  for (const spec of first) store.add(pendingRecord(spec));
  await expect(tenancy.admission.admit('red', specs(1))).rejects.toMatchObject({
    code: 'quota_exceeded',
    details: { quota: 'sandboxes', limit: 2, used: 2 },
  });
  store.stop();
  await tenancy.stop();
});

test('limits hold after each step, what fits is admitted, and at the end no quota is missing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { alive, create, change, end } = world();
      const sum = (of: (entry: Entry) => number): number => alive().reduce((all, entry) => all + of(entry), 0);
      for (const one of steps) {
        if (one.do !== 'create') change(one);
        else {
          const { count, cpus, memoryMb } = one;
          const fits =
            alive().length + count <= MOST.sandboxes &&
            sum((entry) => entry.record.cpus) + count * cpus <= MOST.cpus + 1e-9 &&
            sum((entry) => entry.record.memoryMb) + count * memoryMb <= MOST.memoryMb;
          expect(await create(count, { cpus, memoryMb })).toBe(fits);
        }
      }
      await end();
    }),
    { numRuns: 150 },
  );
});
