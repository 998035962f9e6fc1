/** Every door keeps the same contract, against a real service. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { running } from '../helpers/sandbox.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { CliDoor } from './doors/cli.ts';
import { RestDoor } from './doors/rest.ts';
import { SdkDoor } from './doors/sdk.ts';
import { WebSocketDoor } from './doors/websocket.ts';
import { LIMIT_MS } from './rule.ts';
import { execContract, type Ground } from './suite.ts';

let stack: TestStack;
let ground: Ground;
beforeAll(async () => {
  stack = await startStack({ pool: 2 });
  ground = { stack, sandbox: await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 }) };
});
afterAll(() => stack?.stop());

execContract(
  'REST',
  (at) => new RestDoor(at),
  () => ground,
);
execContract(
  'WebSocket',
  (at) => new WebSocketDoor(at),
  () => ground,
);
execContract(
  'SDK',
  (at) => new SdkDoor(at),
  () => ground,
);
execContract(
  'CLI',
  (at) => new CliDoor(at),
  () => ground,
);

describe('the SDK beyond the contract', () => {
  test('an aborted call kills its command', async () => {
    const abort = new AbortController();
    const exec = ground.sandbox.exec('sleep 75319', { signal: abort.signal });
    await exec.started;
    abort.abort(new Error('enough'));
    await expect(exec.result).rejects.toThrow('enough');
    await expect.poll(() => running(ground.sandbox, 'sleep 75319'), { timeout: LIMIT_MS }).toEqual([]);
  });

  test('a signal and a kill reach a command whose input has ended', async () => {
    const command = `trap 'echo got' USR1; cat; echo read; while :; do sleep 0.1; done`;
    const exec = ground.sandbox.exec(command, { stdin: 'in\n' });
    let text = '';
    let ended: { exitCode: number; signal: string | null } | undefined;
    for await (const event of exec) {
      if (event.type === 'exit') ended = event;
      if (event.type !== 'stdout') continue;
      text += event.data;
      if (event.data.includes('read')) exec.signal('USR1');
      if (event.data.includes('got')) exec.kill();
    }
    expect(text).toBe('in\nread\ngot\n');
    expect(ended).toMatchObject({ exitCode: 143, signal: 'TERM' });
  });

  test('a stream reports its timeout after everything printed before', async () => {
    const command = 'for i in 1 2 3; do echo line$i; done; sleep 98768';
    let text = '';
    for await (const event of ground.sandbox.exec(command, { timeoutMs: 2_000, killGraceMs: 100 })) {
      if (event.type === 'stdout') text += event.data;
      if (event.type === 'exit') expect(event.timedOut).toBe(true);
    }
    expect(text).toBe('line1\nline2\nline3\n');
  });
});
