/** Crowds of processes in a sandbox: its init reaps and kills among them, and still serves everybody else. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../../src/sdk/index.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 180_000;
/** An init that is busy for longer looks dead. */
const SOON_MS = 20_000;

/** Thousands of orphans that stay, and a few lines of them in which each lives only until it has forked the next. */
const ORPHANS = `
  use POSIX ();
  $SIG{CHLD} = 'IGNORE';
  for (1 .. 5000) { next if fork; fork and POSIX::_exit(0); sleep 1000 while 1 }
  for (1 .. 16) { next if fork; while (1) { POSIX::_exit(0) if fork } }
  open(my $sign, '>', '/tmp/crowded');
  sleep 1000;
`;

describe.each(['oci', 'docker'])('on %s', (runtime) => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startStack({ runtime, pool: 1 });
  }, LIMIT_MS);
  afterAll(() => stack?.stop(), LIMIT_MS);

  async function crowded(command: string[]): Promise<Sandbox> {
    const sandbox = await stack.client.sandboxes.create({ memoryMb: 4_096, pidsLimit: 8_192 });
    await sandbox.exec(command, { background: true });
    await until(() => sandbox.files.exists('/tmp/crowded'), LIMIT_MS, 'the crowd');
    return sandbox;
  }

  test('a flood of orphans delays no command', { timeout: LIMIT_MS }, async () => {
    const sandbox = await crowded(['perl', '-e', ORPHANS]);
    const began = performance.now();
    for (let i = 0; i < 20; i++) expect(await sandbox.exec(['/bin/true'])).toMatchObject({ exitCode: 0 });
    expect(performance.now() - began).toBeLessThan(SOON_MS);
    await sandbox.delete();
  });
});
