/** The rules that every implementation of `TenantCounters` obeys. A test file calls this with its own subject. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MAX_CREATE_COUNT } from '../../protocol/limits.ts';
import type { AdmissionRequest, Claim, Seen, UsageSnapshot, TenantCounters } from './counters.ts';

export interface CountersSubject {
  name: string;
  /** Counters of a separate installation, and those of another of its gateways: null where there can be only one. */
  open(): Promise<{
    counters: TenantCounters;
    other: TenantCounters | null;
    /** Age at which a claim that no gateway has reported counts as old. */
    orphanedMs?: number;
    close(): Promise<void>;
  }>;
}

const NO_ROOM_BOUND = { sandboxes: null, milliCpus: null, memoryMb: null };
const WAIT_MS = 20_000;
let made = 0;

function claims(count: number, size: Partial<Claim> = {}): Claim[] {
  return Array.from({ length: count }, () => ({ id: `sbx-${(made += 1)}`, milliCpus: 1000, memoryMb: 512, ...size }));
}

function request(change: Partial<AdmissionRequest>): AdmissionRequest {
  return {
    tenant: 'red',
    claims: claims(1),
    room: NO_ROOM_BOUND,
    rate: null,
    keptMs: 600_000,
    seen: () => 'open',
    ...change,
  };
}

/** Gives time to implementations that write in the background. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${WAIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function countersContract(subject: CountersSubject): void {
  describe(`tenant counters: ${subject.name}`, () => {
    let opened: Awaited<ReturnType<CountersSubject['open']>>;
    let counters: TenantCounters;
    beforeEach(async () => {
      opened = await subject.open();
      counters = opened.counters;
    });
    afterEach(() => opened.close());

    const admit = (change: Partial<AdmissionRequest>) => counters.admit(request(change));

    test('without limits everything is admitted', async () => {
      expect(await admit({ claims: claims(1000) })).toEqual({ admitted: true });
      expect(await admit({ claims: claims(1000) })).toEqual({ admitted: true });
    });

    test.each([
      ['sandboxes', 3, 2],
      ['milliCpus', 3500, 2000],
      ['memoryMb', 1700, 1024],
    ] as const)('claims of a tenant come to no more than the room there is: %s', async (kind, most, claimed) => {
      const room = { ...NO_ROOM_BOUND, [kind]: most };
      expect(await admit({ claims: claims(2), room })).toEqual({ admitted: true });
      expect(await admit({ claims: claims(2), room })).toEqual({ admitted: false, short: kind, claimed });
      expect(await admit({ claims: claims(1), room })).toEqual({ admitted: true });
      expect(await admit({ claims: claims(1), room })).toMatchObject({ admitted: false, short: kind });
      expect(await admit({ claims: claims(1), room, tenant: 'blue' })).toEqual({ admitted: true });
    });

    test('a refused request leaves nothing behind', async () => {
      const room = { ...NO_ROOM_BOUND, sandboxes: 4 };
      for (let i = 0; i < 5; i++) expect(await admit({ claims: claims(5), room })).toMatchObject({ admitted: false });
      expect(await admit({ claims: claims(4), room })).toEqual({ admitted: true });
    });

    test('a released claim makes room again, and releasing it twice makes no more', async () => {
      const room = { ...NO_ROOM_BOUND, sandboxes: 2 };
      const [first, second] = claims(2) as [Claim, Claim];
      await admit({ claims: [first, second], room });
      counters.release('red', [first.id, 'sbx-unknown']);
      counters.release('red', [first.id]);
      counters.release('blue', [second.id]);
      await until(async () => (await admit({ claims: claims(1), room })).admitted);
      expect(await admit({ claims: claims(1), room })).toMatchObject({ admitted: false, claimed: 2 });
    });

    test('the same claim made again counts once', async () => {
      const room = { ...NO_ROOM_BOUND, milliCpus: 3000 };
      const same = claims(2);
      for (let i = 0; i < 3; i++) expect(await admit({ claims: same, room })).toEqual({ admitted: true });
      expect(await admit({ claims: claims(1), room })).toEqual({ admitted: true });
    });

    test('a claim that nobody releases expires', async () => {
      const room = { ...NO_ROOM_BOUND, sandboxes: 1 };
      await admit({ claims: claims(1), room, keptMs: 200 });
      await until(async () => (await admit({ claims: claims(1), room })).admitted);
    });

    test('a burst is admitted at once, then creates at the configured rate', async () => {
      const rate = { perSecond: 0.001, burst: 3 };
      for (let i = 0; i < 3; i++) expect(await admit({ rate })).toEqual({ admitted: true });
      const verdict = await admit({ rate });
      expect(verdict).toMatchObject({ admitted: false, short: 'rate' });
      expect('waitMs' in verdict ? verdict.waitMs : 0).toBeGreaterThan(900_000);
      expect('waitMs' in verdict ? verdict.waitMs : 0).toBeLessThanOrEqual(1_000_000);
      expect(await admit({ rate, tenant: 'blue' })).toEqual({ admitted: true });
    });

    test('whoever waits as long as told is admitted', async () => {
      const rate = { perSecond: 20, burst: 1 };
      await admit({ rate });
      let waits = 0;
      await until(async () => {
        const verdict = await admit({ rate });
        if (verdict.admitted) return true;
        waits += 1;
        await new Promise((resolve) => setTimeout(resolve, 'waitMs' in verdict ? verdict.waitMs : 0));
        return false;
      });
      expect(waits).toBeLessThanOrEqual(2);
    });

    test('a batch larger than the burst passes when the bucket is full, and leaves it in debt', async () => {
      const rate = { perSecond: 0.01, burst: 10 };
      expect(await admit({ rate, claims: claims(30) })).toEqual({ admitted: true });
      const verdict = await admit({ rate });
      // A debt of 20, and one more is asked for: 21 tokens at 100 s each, less the time passed.
      expect('waitMs' in verdict ? verdict.waitMs : 0).toBeGreaterThan(2_000_000);
    });

    test('a raised rate takes effect at once, whatever is owed at the lower one', async () => {
      expect(await admit({ rate: { perSecond: 0.001, burst: 1 }, claims: claims(30) })).toEqual({ admitted: true });
      const verdict = await admit({ rate: { perSecond: 100, burst: 1 } });
      // No more is owed than the largest create would owe at the new rate.
      expect('waitMs' in verdict ? verdict.waitMs : 0).toBeGreaterThan(0);
      expect('waitMs' in verdict ? verdict.waitMs : 0).toBeLessThanOrEqual((MAX_CREATE_COUNT * 1_000) / 100);
    });

    test('no token is taken when there is no room', async () => {
      const rate = { perSecond: 0.001, burst: 1 };
      const room = { ...NO_ROOM_BOUND, sandboxes: 1 };
      expect(await admit({ rate, room, claims: claims(2) })).toMatchObject({ short: 'sandboxes' });
      expect(await admit({ rate, room })).toEqual({ admitted: true });
    });

    test('concurrent requests together never exceed the room', async () => {
      const room = { ...NO_ROOM_BOUND, sandboxes: 25 };
      const other = opened.other ?? counters;
      const verdicts = await Promise.all(
        Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? counters : other).admit(request({ room }))),
      );
      expect(verdicts.filter(({ admitted }) => admitted)).toHaveLength(25);
    });

    test('gateways share claims, tokens and releases', async ({ skip }) => {
      const { other } = opened;
      if (other === null) return skip('there is but one gateway');
      const room = { ...NO_ROOM_BOUND, sandboxes: 2 };
      const mine = claims(2);
      await admit({ claims: mine, room });
      expect(await other.admit(request({ room }))).toMatchObject({ admitted: false, claimed: 2 });
      other.release('red', [mine[0]?.id ?? '']);
      await until(async () => (await admit({ room })).admitted);
      const rate = { perSecond: 0.001, burst: 1 };
      await admit({ rate, tenant: 'blue' });
      expect(await other.admit(request({ rate, tenant: 'blue' }))).toMatchObject({ short: 'rate' });
    });

    test('a placed sandbox counts for gateways that have not learnt of it, once for those that have, and not once ended', async ({
      skip,
    }) => {
      const { other } = opened;
      if (other === null) return skip('there is but one gateway');
      const [one] = claims(1) as [Claim];
      const room = { ...NO_ROOM_BOUND, sandboxes: 1 };
      await admit({ claims: [one], room });
      counters.placed('red', [one.id]);
      const elsewhere = (seen: Seen, left: number) =>
        other.admit(request({ room: { ...room, sandboxes: left }, seen: (id) => (id === one.id ? seen : 'open') }));
      expect(await elsewhere('unknown', 1)).toEqual({ admitted: false, short: 'sandboxes', claimed: 1 });
      // Likewise where the limit is 2 and it is one of the two there.
      await until(async () => (await elsewhere('placed', 1)).admitted);
      expect(await elsewhere('placed', 1)).toEqual({ admitted: false, short: 'sandboxes', claimed: 1 });
      expect((await elsewhere('ended', 2)).admitted).toBe(true);
    });

    test('claims of a dead gateway end when others know what became of them', async ({ skip }) => {
      const { other } = opened;
      if (other === null || opened.orphanedMs === undefined) return skip('there is but one gateway');
      const [placed, ended, lost, waits] = claims(4) as [Claim, Claim, Claim, Claim];
      const known = new Map<string, Seen>([
        [placed.id, 'placed'],
        [ended.id, 'ended'],
        [waits.id, 'open'],
      ]);
      const room = { ...NO_ROOM_BOUND, sandboxes: 4 };
      await admit({ claims: [placed, ended, lost, waits], room });
      const seen = (id: string): Seen => known.get(id) ?? 'unknown';
      const three = claims(3);
      expect((await other.admit(request({ room, claims: three, seen }))).admitted).toBe(false);
      await new Promise((resolve) => setTimeout(resolve, opened.orphanedMs));
      await until(async () => (await other.admit(request({ room, claims: three, seen }))).admitted);
      expect(await other.admit(request({ room, seen: () => 'open' }))).toMatchObject({ admitted: false });
    });

    test('each gateway learns how many commands run through the others', async ({ skip }) => {
      const { other } = opened;
      expect(await counters.exchangeRunning(new Map([['red', 5]]))).toEqual(new Map());
      if (other === null) return skip('there is but one gateway');
      expect((await other.exchangeRunning(new Map([['red', 2]]))).get('red')).toBe(5);
      expect((await counters.exchangeRunning(new Map())).get('red')).toBe(2);
      expect((await other.exchangeRunning(new Map())).get('red') ?? 0).toBe(0);
    });

    test('each gateway learns what the others see', async ({ skip }) => {
      const { other } = opened;
      const snapshot: UsageSnapshot = {
        nodes: 3,
        usage: new Map([['red', { sandboxes: 2, milliCpus: 1500, memoryMb: 600.5 }]]),
      };
      expect(await counters.exchangeUsage(snapshot)).toEqual([]);
      if (other === null) return skip('there is but one gateway');
      const nothing: UsageSnapshot = { nodes: 0, usage: new Map() };
      expect(await other.exchangeUsage(nothing)).toEqual([snapshot]);
      expect(await counters.exchangeUsage(nothing)).toEqual([nothing]);
    });
  });
}
