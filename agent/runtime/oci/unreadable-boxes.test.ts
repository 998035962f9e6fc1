import { expect, test } from 'vitest';
import type { Box } from './boxes.ts';
import { findCgroups } from './cgroup-tree.ts';
import { UnreadableBoxes } from './unreadable-boxes.ts';

const box = (id: string): Box => ({
  id,
  pid: 4_000_000,
  startTime: 1,
  cgroup: id,
  by: 'nursery',
  imageId: 'sha256:0',
  limits: null,
});

/** Boxes that can be read only while in `readable`, and the images held. */
function fixture(groupsOf: (id: string) => string[] = () => []) {
  const readable = new Set<string>();
  const adopted: string[] = [];
  const held: string[] = [];
  const images = {
    list: () => Promise.resolve([{ ref: 'a', id: 'sha256:0', sizeBytes: 1, inUse: false }]),
    hold: (id: string) => void held.push(id),
    release: (id: string) => void held.splice(held.indexOf(id), 1),
  };
  const adopt = (id: string): void => void adopted.push(id);
  const boxes = { get: (id: string) => (readable.has(id) ? box(id) : undefined) };
  const unread = new UnreadableBoxes({ boxes, images, tree: findCgroups(), groupsOf, adopt });
  return { unread, readable, adopted, held };
}

test('readable boxes are adopted at once, the others at a later access, each once', async () => {
  const { unread, readable, adopted, held } = fixture();
  readable.add('whole');
  for (const id of ['whole', 'asked', 'listed', 'late']) unread.found(id);
  expect(adopted).toEqual(['whole']);
  expect(unread.get('asked')).toBeUndefined();

  readable.add('asked').add('listed');
  expect(unread.get('asked')?.id).toBe('asked');
  await Promise.all([unread.readAgain(), unread.readAgain()]);
  unread.get('asked');
  expect(adopted).toEqual(['whole', 'asked', 'listed']);
  expect(['asked', 'listed', 'late'].map((id) => unread.has(id))).toEqual([false, false, true]);
  expect(held).toEqual(['sha256:0']);

  readable.add('late');
  await unread.readAgain();
  expect(adopted).toContain('late');
  expect(held).toEqual([]);
});

test('a box being destroyed is not adopted, and stays unreadable until it is gone', async () => {
  const { unread, readable, adopted, held } = fixture();
  unread.found('a');
  unread.ends('a');
  readable.add('a');
  await unread.readAgain();
  expect(unread.get('a')?.id).toBe('a');
  expect([adopted, unread.has('a')]).toEqual([[], true]);
  await unread.delete('a');
  expect([adopted, unread.has('a'), held]).toEqual([[], false, []]);
});

test('a box whose groups cannot be read may be running; one that was never found is not', () => {
  const { unread } = fixture(() => {
    throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
  });
  unread.found('a');
  expect(['a', 'b'].map((id) => unread.lives(id))).toEqual([true, false]);
});
