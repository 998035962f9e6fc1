/** The copy of a collection, tested against a model of an API server with failures of all kinds. */
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { silent } from '../../../lib/logger.ts';
import { KubeModel, type Refusal } from '../testing/kube-model.ts';
import { memorySessions } from '../testing/memory-session.ts';
import { node } from '../testing/objects.ts';
import type { OpenSession } from './client.ts';
import { ListWatch, type Timings } from './list-watch.ts';
import { readNode, type KubeNode } from './objects.ts';

const QUICK: Timings = {
  requestMs: 2_000,
  idleMs: 60_000,
  watchMs: 60_000,
  firstPauseMs: 1,
  maxPauseMs: 4,
  refusedPauseMs: 20,
};
const LIMIT = { timeout: 15_000, interval: 2 };

let running: ListWatch<KubeNode>[] = [];
afterEach(async () => {
  await Promise.all(running.map((each) => each.stop()));
  running = [];
});

function copyOf(model: KubeModel, more: { timings?: Partial<Timings>; optional?: boolean; open?: OpenSession } = {}) {
  const copy = new ListWatch({
    what: 'nodes',
    path: () => '/api/v1/nodes',
    query: {},
    read: readNode,
    changed: () => undefined,
    optional: more.optional ?? false,
    open: more.open ?? memorySessions(model),
    log: silent,
    timings: { ...QUICK, ...more.timings },
  });
  running.push(copy);
  copy.start();
  return copy;
}

const names = (copy: ListWatch<KubeNode>): string[] => copy.objects.map(({ name }) => name).sort();
const watched = (model: KubeModel): Promise<unknown> =>
  vi.waitFor(() => expect(model.watches.size).toBeGreaterThan(0), LIMIT);
const lists = (model: KubeModel): number => model.asked.filter(({ query }) => query['watch'] === undefined).length;
const lastWatch = (model: KubeModel) => model.asked.filter(({ query }) => query['watch'] !== undefined).at(-1)?.query;
const becomes = (copy: ListWatch<KubeNode>, ...expected: string[]): Promise<unknown> =>
  vi.waitFor(() => expect(names(copy)).toEqual(expected), LIMIT);

describe('a copy of a collection', () => {
  test('is listed in pages, then follows additions, changes and deletions', async () => {
    const model = new KubeModel();
    for (let i = 0; i < 600; i++) model.put('nodes', node(`n${i}`));
    const copy = copyOf(model);
    await vi.waitFor(() => expect(copy.objects).toHaveLength(600), LIMIT);
    expect(lists(model)).toBe(3);
    await watched(model);
    model.put('nodes', node('new'));
    model.put('nodes', node('n0', { unschedulable: true }));
    model.delete('nodes', 'n1');
    await vi.waitFor(() => expect(names(copy)).toContain('new'), LIMIT);
    expect(names(copy)).not.toContain('n1');
    expect(copy.objects.find(({ name }) => name === 'n0')?.unschedulable).toBe(true);
    expect(lists(model)).toBe(3);
  });

  test('asks for bookmarks, and resumes from the last one when a watch ends', async () => {
    const model = new KubeModel();
    model.put('nodes', node('a'));
    const copy = copyOf(model);
    await watched(model);
    expect(lastWatch(model)).toMatchObject({ allowWatchBookmarks: 'true' });
    // Changes to other collections raise the version without an event on this watch.
    for (let i = 0; i < 10; i++) model.put('pods', { metadata: { name: `p${i}` } });
    model.bookmark();
    model.endWatches();
    await watched(model);
    expect(Number(lastWatch(model)?.['resourceVersion'])).toBe(111);
    expect(lists(model)).toBe(1);
    expect(names(copy)).toEqual(['a']);
  });

  test.each(['event', 'status'] as const)(
    'is listed again when its version has become too old, reported as %s',
    async (how) => {
      const model = new KubeModel();
      model.goneAs = how;
      model.put('nodes', node('a'));
      model.put('nodes', node('b'));
      const copy = copyOf(model);
      await watched(model);
      for (const watch of model.watches) watch.frozen = true;
      model.delete('nodes', 'a');
      model.put('nodes', node('c'));
      model.compact();
      for (const watch of model.watches) watch.frozen = false;
      model.endWatches();
      await becomes(copy, 'b', 'c');
      expect(lists(model)).toBe(2);
    },
  );

  test('stays while the server refuses everything, and is corrected afterwards', async () => {
    const model = new KubeModel();
    model.put('nodes', node('a'));
    const copy = copyOf(model);
    await watched(model);
    let refusals = 0;
    model.refuse = () => ((refusals += 1), { status: 503 });
    model.endWatches();
    model.delete('nodes', 'a');
    model.put('nodes', node('b'));
    await vi.waitFor(() => expect(refusals).toBeGreaterThan(5), LIMIT);
    expect(names(copy)).toEqual(['a']);
    model.refuse = () => null;
    await becomes(copy, 'b');
    // The watch delivers what was missed: a restarted server does not cause a new list.
    expect(lists(model)).toBe(1);
  });

  test('is listed in one piece when its pages expire between two requests', async () => {
    const model = new KubeModel();
    for (let i = 0; i < 300; i++) model.put('nodes', node(`n${i}`));
    model.refuse = (_, query) => (query['continue'] === undefined ? null : { status: 410 });
    const copy = copyOf(model);
    await vi.waitFor(() => expect(copy.objects).toHaveLength(300), LIMIT);
    expect(model.asked.at(-2)?.query).not.toHaveProperty('limit');
  });

  test('is listed in pages again when the server does not return it in one piece', async () => {
    const model = new KubeModel();
    for (let i = 0; i < 300; i++) model.put('nodes', node(`n${i}`));
    let forgotten = false;
    model.refuse = (_, query) => {
      if (query['watch'] !== undefined) return null;
      if (query['limit'] === undefined) return { status: 504 };
      if (query['continue'] === undefined || forgotten) return null;
      forgotten = true;
      return { status: 410 };
    };
    const copy = copyOf(model);
    await vi.waitFor(() => expect(copy.objects).toHaveLength(300), LIMIT);
  });

  test('is not confused by repeated events, or late ones about an object that was recreated', async () => {
    const model = new KubeModel();
    const copy = copyOf(model);
    await watched(model);
    model.put('nodes', node('a'));
    model.put('nodes', node('b'));
    model.repeat();
    await becomes(copy, 'a', 'b');
    const late = { ...node('a'), metadata: { name: 'a', uid: 'of long ago', resourceVersion: '1' } };
    model.say(`${JSON.stringify({ type: 'DELETED', object: late })}\n`);
    model.put('nodes', node('c'));
    await becomes(copy, 'a', 'b', 'c');
  });

  test.each(['not json\n', '{"type":"ADDED"}\n', '{"type":"ADDED","object":{"metadata":{}}}\n', '[]\n'])(
    'is listed again after %j, which no server sends',
    async (garbage) => {
      const model = new KubeModel();
      const copy = copyOf(model);
      await watched(model);
      model.say(garbage);
      model.put('nodes', node('a'));
      await becomes(copy, 'a');
      expect(lists(model)).toBe(2);
    },
  );

  test('gives up a connection that brings nothing, not even a bookmark', async () => {
    const model = new KubeModel();
    const copy = copyOf(model, { timings: { idleMs: 30 } });
    await watched(model);
    for (const watch of model.watches) watch.frozen = true;
    model.put('nodes', node('a'));
    await becomes(copy, 'a');
    expect(lists(model)).toBe(1);
  });

  test('gives up a server that accepts the request and never answers', async () => {
    const model = new KubeModel();
    model.put('nodes', node('a'));
    const real = memorySessions(model);
    let hang = 2;
    const open: OpenSession = async () => {
      const session = await real();
      return {
        ...session,
        get: (path, query, signal) =>
          (hang -= 1) >= 0
            ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
            : session.get(path, query, signal),
        [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
      };
    };
    await becomes(copyOf(model, { open, timings: { requestMs: 20 } }), 'a');
  });

  test('can be stopped while it waits for anything', async () => {
    const model = new KubeModel();
    const never: OpenSession = () => new Promise(() => undefined);
    await copyOf(model, { open: never }).stop();
    model.refuse = () => ({ status: 500 });
    const failing = copyOf(model, { timings: { firstPauseMs: 60_000, maxPauseMs: 60_000 } });
    await vi.waitFor(() => expect(model.asked).toHaveLength(1), LIMIT);
    await failing.stop();
    model.refuse = () => null;
    const watching = copyOf(model);
    await watched(model);
    await watching.stop();
    expect(model.watches.size).toBe(0);
  });
});

describe('a missing permission', () => {
  test('for something optional is reported, and the collection is read once it is granted', async () => {
    const model = new KubeModel();
    model.put('nodes', node('a'));
    model.refuse = () => ({ status: 403 });
    const copy = copyOf(model, { optional: true });
    await vi.waitFor(() => expect(copy.state).toBe('refused'), LIMIT);
    expect(copy.objects).toEqual([]);
    model.refuse = () => null;
    await becomes(copy, 'a');
    expect(copy.state).toBe('synced');
  });

  test('that was there before is doubted at first: a starting server refuses everybody for a moment', async () => {
    const model = new KubeModel();
    model.put('nodes', node('a'));
    const copy = copyOf(model, { optional: true, timings: { refusedPauseMs: 600_000 } });
    await watched(model);
    let refusals = 0;
    model.refuse = () => ((refusals += 1) > 3 ? null : { status: 403 });
    model.endWatches();
    await vi.waitFor(() => expect(refusals).toBeGreaterThan(3), LIMIT);
    model.put('nodes', node('b'));
    await becomes(copy, 'a', 'b');
    expect(copy.state).toBe('synced');
    model.refuse = () => ({ status: 403 });
    model.endWatches();
    await vi.waitFor(() => expect(copy.state).toBe('refused'), LIMIT);
  });

  test('for something required keeps what is known', async () => {
    const model = new KubeModel();
    model.put('nodes', node('a'));
    const copy = copyOf(model);
    await watched(model);
    let refusals = 0;
    model.refuse = () => ((refusals += 1), { status: 403 });
    model.endWatches();
    await vi.waitFor(() => expect(refusals).toBeGreaterThan(2), LIMIT);
    expect([copy.state, ...names(copy)]).toEqual(['synced', 'a']);
  });
});

describe('a server in trouble', () => {
  test('that asks for a pause is left alone for that long', async () => {
    const model = new KubeModel();
    const times: number[] = [];
    model.refuse = () => (times.push(performance.now()), times.length > 2 ? null : { status: 429, retryAfter: 0.3 });
    copyOf(model);
    await vi.waitFor(() => expect(times.length).toBeGreaterThan(2), LIMIT);
    expect((times[1] as number) - (times[0] as number)).toBeGreaterThan(250);
  });

  test('whose watches end as soon as they begin is asked less and less often', async () => {
    const model = new KubeModel();
    model.put('nodes', node('a'));
    const copy = copyOf(model, { timings: { firstPauseMs: 20, maxPauseMs: 60_000 } });
    await becomes(copy, 'a');
    const ends = setInterval(() => model.endWatches(), 1);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    clearInterval(ends);
    expect(model.asked.length).toBeLessThan(12);
  });
});

test("whatever happens on the way, the copy ends up equal to the server's state", async () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd');
  const step = fc.oneof(
    fc.record({ do: fc.constant('put' as const), name, unschedulable: fc.boolean() }),
    fc.record({ do: fc.constant('delete' as const), name }),
    fc.record({
      do: fc.constantFrom('compact', 'end', 'bookmark', 'repeat', 'garbage', 'freeze', 'error', 'wait'),
    }),
    fc.record({ do: fc.constant('fail' as const), status: fc.constantFrom(401, 403, 410, 429, 500, 503, 504) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.constantFrom('event', 'status'), async (steps, goneAs) => {
      const model = new KubeModel();
      model.goneAs = goneAs;
      const refusals: Refusal[] = [];
      model.refuse = () => refusals.shift() ?? null;
      const copy = copyOf(model, { timings: { idleMs: 40 } });
      for (const each of steps) {
        if (each.do === 'put') model.put('nodes', node(each.name, { unschedulable: each.unschedulable }));
        else if (each.do === 'delete') model.delete('nodes', each.name);
        else if (each.do === 'fail') refusals.push({ status: each.status });
        else if (each.do === 'compact') model.compact();
        else if (each.do === 'end') model.endWatches();
        else if (each.do === 'bookmark') model.bookmark();
        else if (each.do === 'repeat') model.repeat();
        else if (each.do === 'garbage') model.say('{"type":\n');
        else if (each.do === 'error') model.error(500);
        else if (each.do === 'freeze') for (const watch of model.watches) watch.frozen = true;
        else await new Promise((resolve) => setTimeout(resolve, 2));
      }
      const truth = model.all('nodes').map((object) => readNode(object));
      const byName = (list: readonly (KubeNode | null)[]) =>
        [...list].sort((x, y) => (x?.name ?? '').localeCompare(y?.name ?? ''));
      await vi.waitFor(() => {
        expect(copy.state).toBe('synced');
        expect(byName(copy.objects)).toEqual(byName(truth));
      }, LIMIT);
      await copy.stop();
    }),
    { numRuns: 60 },
  );
}, 60_000);
