/** An agent that cannot start removes what it created on the way. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { main } from '../../../agent/main.ts';
import { agentEnvironment, boxinitPath } from '../../../src/cli/up/parts.ts';
import { removeAll } from '../../../src/lib/remove-all.ts';
import { allowedEnvironment, chosenRuntime } from '../../helpers/config.ts';
import { noteDataDir } from '../../helpers/data-dirs.ts';
import { leftGroups, leftMounts, leftProcesses, ownFamily } from '../../helpers/leftovers.ts';

test('one whose port is taken reports it, and leaves no mount, process or cgroup', async () => {
  const family = ownFamily();
  const home = mkdtempSync(join(tmpdir(), 'mbx-start-'));
  const dataDir = join(home, 'data');
  const secretFile = join(home, 'secret');
  writeFileSync(secretFile, 'secret-of-a-test-that-is-long-enough', { mode: 0o600 });
  noteDataDir(dataDir);
  const other = createServer().listen(0, '127.0.0.1');
  try {
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const runtime = chosenRuntime() ?? 'auto';
    const env = agentEnvironment({ node: 'late', port, dataDir, secretFile, boxinit: boxinitPath(), runtime });
    const start = main({ ...allowedEnvironment(), ...env, MILLIBOX_LOG_LEVEL: 'silent' }, AbortSignal.timeout(60_000));
    await expect(start).rejects.toMatchObject({ code: 'EADDRINUSE' });
    expect(leftMounts(home)).toEqual([]);
    // A helper that was told to exit may take a moment.
    await expect.poll(() => leftProcesses(home, family), { timeout: 30_000 }).toEqual([]);
    expect(leftGroups([dataDir])).toEqual([]);
  } finally {
    other.close();
    await removeAll(home);
  }
});
