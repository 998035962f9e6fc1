/** Images that differ from each other, made on the spot and removed again. Each holds one static program. */
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Operator } from '../../src/cli/io/operator.ts';
import { spread } from './lanes.ts';

const run = promisify(execFile);
const WIDTH = 4;

export interface Made extends AsyncDisposable {
  refs: string[];
}

/** @param trueFile becomes /bin/millibox-true in each. */
export async function makeImages(_operator: Operator, count: number, trueFile: string): Promise<Made> {
  const directory = mkdtempSync(join(tmpdir(), 'millibox-bench-images-'));
  const refs = Array.from({ length: count }, (_, i) => `millibox-bench/i${process.pid}:${i}`);
  const root = join(directory, 'root');
  for (const name of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev'])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync(trueFile, join(root, 'bin/millibox-true'));
  chmodSync(join(root, 'bin/millibox-true'), 0o755);
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
  const made = new Set<string>();
  const dispose = async (): Promise<void> => {
    rmSync(directory, { recursive: true, force: true });
    const all = [...made];
    while (all.length > 0) await run('docker', ['rmi', '-f', ...all.splice(0, 50)]).catch(() => undefined);
  };
  try {
    for (const [i, ref] of refs.entries()) {
      writeFileSync(join(root, 'etc/image'), `${ref}\n`);
      await run('tar', ['-C', root, '-cf', join(directory, `${i}.tar`), '.']);
    }
    await spread(count, WIDTH, async (i) => {
      const ref = refs[i] as string;
      await run('docker', ['import', join(directory, `${i}.tar`), ref], { timeout: 120_000 });
      made.add(ref);
    });
  } catch (error) {
    await dispose();
    throw error;
  }
  return { refs, [Symbol.asyncDispose]: dispose };
}
