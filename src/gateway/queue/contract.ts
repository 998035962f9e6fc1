/** The rules that every implementation of the queue obeys. A test file calls this with its own subject. */
import { afterEach, describe, expect, test } from 'vitest';
import { pendingRecord } from '../../protocol/node.ts';
import { plainSpec } from '../testing/plain-spec.ts';
import type { PlacementQueue, Ticket } from './queue.ts';

export interface QueueSubject {
  name: string;
  /** A fresh queue, not yet started. */
  open(max: number): Promise<{ queue: PlacementQueue; close(): Promise<void> }>;
}

const WAIT = { timeout: 20_000, interval: 10 };

const ticket = (tenant: string, id: string, weight = 1): Ticket => ({
  spec: plainSpec({ id, tenant, createdAtMs: (clock += 1), expiresAtMs: Date.now() + 3_600_000 }),
  priority: 0,
  weight,
});
/** Each ticket is younger than the one before. */
let clock = Date.now();

export function queueContract(subject: QueueSubject): void {
  describe(`a queue: ${subject.name}`, () => {
    let opened: Awaited<ReturnType<QueueSubject['open']>>;
    afterEach(() => opened.close());

    async function start(max: number) {
      opened = await subject.open(max);
      const { queue } = opened;
      const placed: string[] = [];
      const gone = new Set<string>();
      let room = 0;
      queue.start(
        ({ spec }) => {
          if (room <= 0) return null;
          room -= 1;
          placed.push(spec.id);
          gone.add(spec.id);
          return Promise.resolve('placed');
        },
        {
          fits: (needs) => room >= needs.length,
          isOpen: (id) => !gone.has(id),
          isPlaced: (id) => gone.has(id),
          allConnected: () => true,
          reported: () => undefined,
          withdrawn: () => undefined,
        },
      );
      await expect.poll(() => queue.informed, WAIT).toBe(true);
      const add = async (tenant: string, id: string, weight?: number): Promise<string> => {
        try {
          await queue.add(ticket(tenant, id, weight));
          return 'waits';
        } catch (error) {
          return (error as { code: string }).code;
        }
      };
      return {
        queue,
        placed,
        add,
        /** Adds `count` tickets of a tenant, and checks that each is accepted or refused. */
        fill: async (tenant: string, count: number): Promise<void> => {
          for (let i = 1; i <= count; i++) expect(await add(tenant, `${tenant}${i}`)).toBe('waits');
        },
        /** The ticket is no longer wanted. */
        end: async (tenant: string, id: string): Promise<void> => {
          gone.add(id);
          queue.remove(id);
          await queue.recordEnd({
            ...pendingRecord(ticket(tenant, id).spec),
            status: 'TERMINATED',
            endedAtMs: Date.now(),
          });
        },
        /** Resolves once there has been room for `count` tickets and all of it is used. */
        room: async (count: number): Promise<void> => {
          const before = placed.length;
          room = count;
          queue.wake();
          await expect.poll(() => placed.length, WAIT).toBe(before + count);
        },
      };
    }

    test('a tenant that waits alone may use every place', async () => {
      const { add, fill, queue } = await start(6);
      await fill('a', 6);
      expect(await add('a', 'a7')).toBe('capacity_exhausted');
      expect(queue.depth).toBe(6);
    });

    test('a tenant gets at most half of the places while another waits, and is told when to retry', async () => {
      const { add, fill, queue, end } = await start(6);
      await fill('b', 1);
      await fill('a', 3);
      await expect(async () => queue.add(ticket('a', 'a4'))).rejects.toMatchObject({
        code: 'quota_exceeded',
        retryAfterMs: 1_000,
        details: { quota: 'waiting', limit: 3, used: 3 },
      });
      await end('b', 'b1');
      expect(await add('a', 'a4')).toBe('waits');
    });

    test('places beyond the half are only lent: other tenants may still join', async () => {
      const { add, fill, queue } = await start(6);
      await fill('a', 6);
      await fill('b', 3);
      expect(await add('b', 'b4')).toBe('quota_exceeded');
      expect(await add('a', 'a7')).toBe('quota_exceeded');
      expect(await add('c', 'c1')).toBe('capacity_exhausted');
      expect(queue.depth).toBe(9);
    });

    test('a place is free again once its ticket is on a node or no longer wanted', async () => {
      const { add, fill, end, room, queue } = await start(4);
      await fill('a', 2);
      await fill('b', 2);
      expect(await add('c', 'c1')).toBe('capacity_exhausted');
      await end('a', 'a2');
      expect(await add('c', 'c1')).toBe('waits');
      await room(1);
      await expect.poll(() => queue.depth, WAIT).toBe(3);
      // The news reaches everyone who shares the queue a moment later.
      await expect.poll(() => add('d', 'd1'), WAIT).toBe('waits');
      await room(4);
      await expect.poll(() => queue.depth, WAIT).toBe(0);
      await expect.poll(() => add('a', 'a5'), WAIT).toBe('waits');
    });

    test("tenants take turns by weight, and each tenant's oldest goes first", async () => {
      const { add, room, placed, queue } = await start(20);
      for (let i = 1; i <= 4; i++) expect(await add('a', `a${i}`, 2)).toBe('waits');
      for (let i = 1; i <= 2; i++) expect(await add('b', `b${i}`)).toBe('waits');
      expect(queue.position('a3')).toBe(3);
      for (let i = 0; i < 6; i++) await room(1);
      expect(placed).toEqual(['a1', 'a2', 'b1', 'a3', 'a4', 'b2']);
    });
  });
}
