import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { agentCommand, checkLedger, echo, expected, runKnown } from './known-command.ts';

type Events = { type: string; data?: Buffer; [key: string]: unknown }[];
type Runner = Parameters<typeof runKnown>[0];

/** A service that answers every command with these events. */
function answering(events: Events): Runner {
  const exec = async function* (): AsyncGenerator<unknown> {
    yield* events;
    await Promise.resolve();
  };
  return { exec: exec as unknown as Runner['exec'] };
}
const out = (text: string): Events[number] => ({ type: 'stdout', data: Buffer.from(text) });
const exit = (exitCode: number, stdoutBytes: number): Events[number] => ({
  type: 'exit',
  exitCode,
  stdoutBytes,
  stderrBytes: 0,
});

test('a shell prints exactly what an agent command is known to print, and leaves one line in the ledger', () => {
  const directory = mkdtempSync(join(tmpdir(), 'millibox-known-'));
  try {
    const ledger = join(directory, 'ran');
    for (const turn of [0, 1, 2]) {
      const known = agentCommand(6, turn, ledger);
      const { stdout, stderr, status } = spawnSync('sh', ['-c', known.command as string], { encoding: 'utf8' });
      expect(status).toBe(known.exitCode);
      expect(expected(stdout)).toEqual(known.stdout);
      expect(expected(stderr)).toEqual(known.stderr);
    }
    expect(readFileSync(ledger, 'utf8')).toBe('0\n1\n2\n');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('the right answer passes, however it is cut', async () => {
  await runKnown(answering([out('he'), out('llo\n'), exit(0, 6)]), echo('hello'));
});

test.each<[string, Events]>([
  ['wrong_exit', [out('hello\n'), exit(1, 6)]],
  ['wrong_output', [out('hullo\n'), exit(0, 6)]],
  ['lost_output', [out('hel'), exit(0, 6)]],
  ['lost_output', [out('hel'), exit(0, 3)]],
  ['lost_output', [{ type: 'output_lost', channel: 'stdout', from: 0, to: 6 }, exit(0, 6)]],
  ['lost_event', [out('hello\n')]],
  ['duplicate_event', [out('hello\n'), exit(0, 6), exit(0, 6)]],
  ['duplicate_event', [out('hello\n'), exit(0, 6), out('hello\n')]],
])('%s is found', async (code, events) => {
  await expect(runKnown(answering(events), echo('hello'))).rejects.toMatchObject({ code });
});

test('a command that ran twice, or never, is found in the ledger', async () => {
  const account = (stdout: string): Runner => ({
    exec: (() => Promise.resolve({ stdout })) as unknown as Runner['exec'],
  });
  await checkLedger(account('0\n1\n2\n'), 3);
  await expect(checkLedger(account('0\n1\n1\n2\n'), 3)).rejects.toMatchObject({ code: 'ran_twice' });
  await expect(checkLedger(account('0\n2\n'), 3)).rejects.toMatchObject({ code: 'never_ran' });
  await expect(checkLedger(account(''), 1)).rejects.toMatchObject({ code: 'never_ran' });
});
