import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { packFile, type PackedFile } from './file-tar.ts';

async function packed(file: Partial<PackedFile>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  const defaults = { name: 'x', mode: 0o644, modifiedAtMs: 0, size: 0, bytes: [] };
  for await (const chunk of packFile({ ...defaults, ...file })) all.push(chunk);
  return Buffer.concat(all);
}

test.each([
  ['x', 0, 0o600, 1_000_000_001_999],
  ['n'.repeat(255), 511, 0o755, 0],
  ['nl\nx =é中😀', 512, 0o4711, -1_500],
  ['-rf', 100_003, 0o640, 9_000_000_000_000],
])('unpacking the archive of %j with tar restores the file', async (name, size, mode, modifiedAtMs) => {
  const directory = mkdtempSync(join(tmpdir(), 'file-tar-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const bytes = Buffer.from(Array.from({ length: size }, (_, i) => i * 31));
  const archive = await packed({ name, mode, modifiedAtMs, size, bytes: [bytes.subarray(0, 7), bytes.subarray(7)] });
  expect(archive.length % 512).toBe(0);
  execFileSync('tar', ['-C', directory, '-xpf', '-'], { input: archive, stdio: ['pipe', 'inherit', 'inherit'] });
  expect(readdirSync(directory)).toEqual([name]);
  const found = statSync(join(directory, name));
  expect(readFileSync(join(directory, name)).equals(bytes)).toBe(true);
  expect([found.mode & 0o7777, found.mtimeMs]).toEqual([mode, Math.floor(modifiedAtMs / 1000) * 1000]);
});

test('a size too large for a header is in a pax record', async () => {
  const packing = packFile({ name: 'x', mode: 0, modifiedAtMs: 0, size: 2 ** 40, bytes: [] });
  const heads: Uint8Array[] = [];
  for (let i = 0; i < 3; i++) heads.push((await packing.next()).value as Uint8Array);
  // Fails where the content should begin.
  const { stdout } = spawnSync('tar', ['-tvf', '-'], { input: Buffer.concat(heads), encoding: 'utf8' });
  expect(stdout).toContain(String(2 ** 40));
});

test('a file whose size changes meanwhile makes no complete archive', async () => {
  const bytes = [Buffer.alloc(10)];
  await expect(packed({ size: 9, bytes })).rejects.toThrow(/changed its size/);
  await expect(packed({ size: 11, bytes })).rejects.toThrow(/changed its size/);
});
