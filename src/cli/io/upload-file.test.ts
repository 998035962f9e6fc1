import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ServiceError } from '../../protocol/errors.ts';
import type { Sandbox } from '../../sdk/index.ts';
import { uploadFile } from './upload-file.ts';

/** More than is read ahead. */
const SIZE = 3_000_000;

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'upload-'));
  file = join(directory, 'file');
  writeFileSync(file, Buffer.alloc(SIZE, 'a'));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** The bytes that a sandbox receives, when something happens to the file while its target is looked up. */
async function uploaded(meanwhile: () => unknown, there?: object): Promise<Buffer> {
  const got: Uint8Array[] = [];
  const take = async (_path: string, source: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const bytes of source) got.push(bytes);
  };
  const stat = async (): Promise<object> => {
    await meanwhile();
    if (there === undefined) throw new ServiceError('file_not_found');
    return there;
  };
  const sandbox = { files: { stat, uploadTar: take, write: take } } as unknown as Sandbox;
  await uploadFile(sandbox, file, statSync(file), '/to', { signal: new AbortController().signal });
  return Buffer.concat(got);
}

const openHere = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory);
    } catch {
      return false;
    }
  }).length;

test('a file that grows while it is copied is copied up to its original size', async () => {
  const tar = await uploaded(() => appendFileSync(file, Buffer.alloc(1_000_000, 'b')));
  expect(tar.filter((byte) => byte === 'a'.charCodeAt(0)).length).toBeGreaterThanOrEqual(SIZE);
  expect(tar.subarray(-1_000_000).includes('bbb')).toBe(false);
});

test('a file that shrinks while it is copied is not copied', async () => {
  await expect(uploaded(() => truncateSync(file, SIZE - 1))).rejects.toThrow('changed its size');
});

test('a file that cannot be opened fails the copy, and nothing else', async () => {
  const gone = async (): Promise<void> => {
    rmSync(file);
    // Gives a stream that was opened too early time to fail unobserved.
    await sleep(100);
  };
  await expect(uploaded(gone)).rejects.toThrow('ENOENT');
  writeFileSync(file, Buffer.alloc(SIZE));
  await expect(uploaded(gone, { kind: 'other' })).rejects.toThrow('ENOENT');
});

test('a copied file is not left open, whatever exists at the target', async () => {
  const openBefore = openHere();
  expect((await uploaded(() => undefined, { kind: 'other' })).length).toBe(SIZE);
  await uploaded(() => undefined);
  await expect.poll(openHere).toBe(openBefore);
});
