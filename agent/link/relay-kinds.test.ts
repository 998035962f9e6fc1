import { expect, test } from 'vitest';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { attachKind, execKind, fileKind } from './relay-kinds.ts';

const KILLED = {
  type: 'exit',
  exitCode: 137,
  signal: 'KILL',
  timedOut: false,
  oomKilled: false,
  stdoutBytes: 0,
  stderrBytes: 0,
  durationMs: 1,
};
/** The count of the container: kills of whatever runs in it. */
const hooks = { oomKills: () => Promise.resolve(3) };
const sandbox = (): Sandbox => ({ containerId: 'c', oomKillsSeen: 0 }) as Sandbox;
const kinds = () => [
  execKind({ op: 'exec', sandbox: 's', id: 'exe-x', argv: ['x'] }, hooks),
  attachKind({ op: 'attach', sandbox: 's', id: 'exe-x' }, hooks),
];

test('a kill by hand is not taken for one for want of memory, whatever was killed in the sandbox before', async () => {
  for (const kind of kinds()) {
    expect(await kind.event({ ...KILLED, oomCounted: true }, sandbox())).toMatchObject({ oomKilled: false });
    expect(await kind.event({ ...KILLED, oomCounted: true, oomKilled: true }, sandbox())).toMatchObject({
      oomKilled: true,
    });
  }
});

test('where the sandbox is not shown the count of such kills, each is attributed to one exit', async () => {
  const box = sandbox();
  for (const oomKilled of [true, true, true, false]) {
    for (const kind of kinds().slice(0, 1)) expect(await kind.event(KILLED, box)).toMatchObject({ oomKilled });
  }
});

test('a file call that cannot be is refused with the field that is wrong', () => {
  const wrong = { op: 'file', sandbox: 's', call: 'chmod', path: '/x', mode: 'rwx' };
  expect(() => fileKind(wrong)).toThrow(/^mode: /);
});
