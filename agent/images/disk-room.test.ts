import { expect, test } from 'vitest';
import { hasRoom } from './disk-room.ts';

const large = { bavail: 1_000_000, bsize: 4_096, files: 16_000_000, ffree: 15_000_000 };

test('there is room while bytes and files are left for others', () => {
  expect(hasRoom(large, 1_000_000)).toBe(true);
  expect(hasRoom({ ...large, bavail: 200 }, 1_000_000)).toBe(false);
  expect(hasRoom({ ...large, ffree: 199_999 }, 1_000_000)).toBe(false);
});

test('a small file system keeps a part of its files, and one that counts none has room', () => {
  expect(hasRoom({ ...large, files: 16_000, ffree: 800 }, 0)).toBe(true);
  expect(hasRoom({ ...large, files: 16_000, ffree: 799 }, 0)).toBe(false);
  expect(hasRoom({ ...large, files: 0, ffree: 0 }, 0)).toBe(true);
});
