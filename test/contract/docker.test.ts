/** The same contract with containers made by Docker. One door is enough: the runtime is behind all of them. */
import { afterAll, beforeAll, describe } from 'vitest';
import { chosenRuntime } from '../helpers/config.ts';
import { startStack, type TestStack } from '../helpers/stack.ts';
import { RestDoor } from './doors/rest.ts';
import { execContract, type Ground } from './suite.ts';

// With MILLIBOX_TEST_RUNTIME=docker every door is already tested there.
describe.skipIf(chosenRuntime() === 'docker')('on docker', () => {
  let stack: TestStack;
  let ground: Ground;
  beforeAll(async () => {
    stack = await startStack({ runtime: 'docker', pool: 1 });
    ground = { stack, sandbox: await stack.client.sandboxes.create({ memoryMb: 1024, timeoutMs: 3_600_000 }) };
  });
  afterAll(() => stack?.stop());

  execContract(
    'REST',
    (at) => new RestDoor(at),
    () => ground,
  );
});
