/**
 * The cost of a container's files on a disk where containers come and go, below an ordinary directory and below one
 * that is marked as docs/adr/0011 says: `node bench/micro/inodes.ts [DIRECTORY]`. It differs on ext4 without a journal.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spreadSubdirectories } from '../../agent/spread-directories.ts';
import { silent } from '../../src/lib/logger.ts';
import { Samples } from '../report/statistics.ts';

const ROUNDS = 5;
const CONTAINERS = 400;

const root = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'inodes-'));
try {
  const ways = await Promise.all(
    ['plain', 'marked'].map(async (name) => {
      const directory = join(root, name);
      mkdirSync(directory);
      if (name === 'marked') await spreadSubdirectories([directory], silent);
      return { directory, samples: new Samples(name) };
    }),
  );
  for (let round = 0; round < ROUNDS; round++) {
    for (const { directory, samples } of ways) {
      for (let i = 0; i < CONTAINERS; i++) {
        const start = performance.now();
        makeOne(join(directory, String(i)));
        samples.add(performance.now() - start);
      }
      for (let i = 0; i < CONTAINERS; i++) rmSync(join(directory, String(i)), { recursive: true });
    }
  }
  for (const { samples } of ways) {
    const { p50Ms, p99Ms } = samples.row();
    console.log(`${samples.name}: two directories and four files in ${p50Ms} ms (p50), ${p99Ms} ms (p99)`);
  }
} finally {
  rmSync(root, { recursive: true });
}

function makeOne(directory: string): void {
  mkdirSync(directory);
  mkdirSync(join(directory, 'upper'));
  for (const name of ['a', 'b', 'c', 'd']) writeFileSync(join(directory, name), name);
}
