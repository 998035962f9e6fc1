import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { silent } from '../../src/lib/logger.ts';
import { hasRoom, whileThereIsRoom } from './disk-room.ts';

const large = { bavail: 1_000_000, bsize: 4_096, files: 16_000_000, ffree: 15_000_000 };

test('there is room while enough bytes and inodes stay free for others', () => {
  expect(hasRoom(large, 1_000_000)).toBe(true);
  expect(hasRoom({ ...large, bavail: 200 }, 1_000_000)).toBe(false);
  expect(hasRoom({ ...large, ffree: 199_999 }, 1_000_000)).toBe(false);
});

test('a small file system reserves a fraction of its inodes, and one that reports none has room', () => {
  expect(hasRoom({ ...large, files: 16_000, ffree: 800 }, 0)).toBe(true);
  expect(hasRoom({ ...large, files: 16_000, ffree: 799 }, 0)).toBe(false);
  expect(hasRoom({ ...large, files: 0, ffree: 0 }, 0)).toBe(true);
});

test('a failure to read free space is logged once', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'room-'));
  const logged: object[] = [];
  const log = { ...silent, warn: (fields: object) => void logged.push(fields) };
  const done = Promise.withResolvers<string>();
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    const result = whileThereIsRoom(dir, 0, { signal: undefined, log }, async () => {
      rmSync(dir, { recursive: true });
      for (let look = 0; look < 3 || logged.length === 0; look += 1) {
        vi.advanceTimersByTime(500);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      mkdirSync(dir);
      return await done.promise;
    });
    done.resolve('done');
    expect(await result).toBe('done');
    expect(logged).toMatchObject([{ dir, err: { code: 'ENOENT' } }]);
  } finally {
    vi.useRealTimers();
    rmSync(dir, { recursive: true, force: true });
  }
});
