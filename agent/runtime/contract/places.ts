/** Where an agent's files are. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { loadConfig } from '../../config.ts';
import { Bench, LIMITS, run, type ContractSubject } from './subject.ts';

export function placeChapter(subject: ContractSubject): void {
  test('a data directory may have any name that the settings accept', async () => {
    const parent = realpathSync(mkdtempSync(path.join(tmpdir(), `a 'b' #1 %20 é=$x;*`)));
    onTestFinished(() => {
      vi.unstubAllEnvs();
      rmSync(parent, { recursive: true, force: true });
    });
    vi.stubEnv('TMPDIR', parent);
    await using bench = await Bench.open(subject);
    const settings = { MILLIBOX_DATA_DIR: bench.dataDir, MILLIBOX_NODE_SECRET: 'a secret of some length' };
    expect(loadConfig(settings).dataDir).toBe(bench.dataDir);
    // Mounted by a program of the node, unless an engine does it.
    const diskMb = bench.runtime.maxDiskMb === undefined ? null : 16;
    const { container, link } = await bench.claimed({ limits: { ...LIMITS, diskMb } });
    expect(await run(link, ['echo', 'here'])).toMatchObject({ stdout: 'here\n' });
    await bench.runtime.destroy(container.id);
    expect(await bench.exists(container.id)).toBe(false);
  });
}
