import { afterEach, expect, test, vi } from 'vitest';
import type { Session } from './session.ts';
import { Sessions } from './sessions.ts';

afterEach(() => void vi.useRealTimers());

const command = { cmd: 'true', args: [] };
let made = 0;

/** A session that runs until the test ends it. */
function startable() {
  const over = Promise.withResolvers<void>();
  const id = `id-${++made}`;
  const session = { id, sandbox: 'sbx-1', started: Promise.resolve(1), over: over.promise, running: true };
  const about = (tenant: string, uuid: string | null = id) => ({ tenant, uuid, request: '', command });
  const start = vi.fn(() => session as unknown as Session);
  const end = async (): Promise<void> => {
    session.running = false;
    over.resolve();
    await over.promise;
  };
  return { id, start, about, end };
}

test('a session refused for lack of room is never started', async () => {
  const sessions = new Sessions({ live: 1, kept: 10 });
  const [one, two] = [startable(), startable()];
  sessions.add(one.start, one.about('a'));
  expect(() => sessions.add(two.start, two.about('b'))).toThrow(expect.objectContaining({ code: 'rate_limited' }));
  expect(two.start).not.toHaveBeenCalled();
  await one.end();
  sessions.add(two.start, two.about('b'));
  expect(sessions.byUuid('sbx-1', one.id)).toBeDefined();
  sessions.close();
});

test('a failed start takes up no room', () => {
  const sessions = new Sessions({ live: 1, kept: 1 });
  const one = startable();
  const fails = (): Session => {
    throw new Error('no');
  };
  expect(() => sessions.add(fails, one.about('a'))).toThrow('no');
  sessions.add(one.start, one.about('a'));
  sessions.close();
});

test('ended sessions of the tenant with the most make room for others, but not early for its own', async () => {
  vi.useFakeTimers();
  const sessions = new Sessions({ live: 10, kept: 3 });
  const many = [startable(), startable(), startable()];
  for (const one of many) {
    sessions.add(one.start, one.about('many'));
    await one.end();
  }
  const again = startable();
  const add = (): unknown => sessions.add(again.start, again.about('many'));
  expect(add).toThrow(expect.objectContaining({ code: 'rate_limited' }));
  const other = startable();
  sessions.add(other.start, other.about('other'));
  const known = (): boolean[] => many.map(({ id }) => sessions.byUuid('sbx-1', id) !== undefined);
  expect(known()).toEqual([false, true, true]);
  vi.advanceTimersByTime(150_000);
  add();
  expect(known()).toEqual([false, false, true]);
  vi.advanceTimersByTime(150_000);
  expect(known()).toEqual([false, false, false]);
  sessions.close();
});

test('a session that nobody can find again is forgotten when it ends', async () => {
  const sessions = new Sessions({ live: 1, kept: 1 });
  for (let i = 0; i < 3; i++) {
    const one = startable();
    sessions.add(one.start, one.about('a', null));
    await one.end();
  }
  sessions.close();
});
