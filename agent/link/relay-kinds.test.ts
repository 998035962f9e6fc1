import { expect, test } from 'vitest';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { LinkRoom } from './link-room.ts';
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
const sandbox = (): Sandbox =>
  ({ containerId: 'c', oomKills: { attributed: 0, exits: [] }, ended: false }) as unknown as Sandbox;
/** How a command is run, and read again. */
const kinds = (id = 'exe-x') => [
  execKind({ op: 'exec', sandbox: 's', id, argv: ['x'] }, hooks),
  attachKind({ op: 'attach', sandbox: 's', id }, hooks),
];

test('a kill by hand is not taken for one for want of memory, whatever was killed in the sandbox before', async () => {
  for (const kind of kinds()) {
    expect(await kind.event({ ...KILLED, oomCounted: true }, sandbox())).toMatchObject({ oomKilled: false });
    expect(await kind.event({ ...KILLED, oomCounted: true, oomKilled: true }, sandbox())).toMatchObject({
      oomKilled: true,
    });
  }
});

test('where the sandbox is not shown the count of such kills, each is attributed to one exit, however often it is read', async () => {
  const box = sandbox();
  for (const [id, oomKilled] of Object.entries({ 'exe-1': true, 'exe-2': true, 'exe-3': true, 'exe-4': false })) {
    for (const kind of [...kinds(id), ...kinds(id)]) {
      kind.opened({ pid: 7, stdinBytes: 0 }, 0);
      expect(await kind.event(KILLED, box)).toMatchObject({ oomKilled });
    }
  }
});

test('another command under an id that was used before is another exit', async () => {
  const box = sandbox();
  const told = [];
  for (const pid of [1, 2, 3, 4, 5]) {
    const [kind] = kinds();
    kind?.opened({ pid }, 0);
    told.push(await kind?.event(KILLED, box));
  }
  expect(told).toMatchObject([true, true, true, false, false].map((oomKilled) => ({ oomKilled })));
});

test('a file call that cannot be is refused with the field that is wrong', () => {
  const wrong = { op: 'file', sandbox: 's', call: 'chmod', path: '/x', mode: 'rwx' };
  expect(() => fileKind(wrong, new LinkRoom())).toThrow(/^mode: /);
});
