import { afterAll, beforeAll, expect, test } from 'vitest';
import { FakeNode } from '../../../testing/fake-node.ts';
import { TestGateway, type Answer } from '../../../testing/harness.ts';
import { createPrimeDoor } from '../door.ts';

const unheard = new FakeNode({ name: 'unheard' });
unheard.offline = true;
let learning: TestGateway;
let sure: TestGateway;

beforeAll(async () => {
  learning = await TestGateway.start([new FakeNode(), unheard], {}, [createPrimeDoor()]);
  sure = await TestGateway.start([new FakeNode()], {}, [createPrimeDoor()]);
});
afterAll(async () => {
  await learning[Symbol.asyncDispose]();
  await sure[Symbol.asyncDispose]();
});

const ID = 'sbx-on-a-node-that-was-not-heard';
const STATUS = { path: '/api/v1/sandbox/status:batchGet', body: { sandbox_ids: [ID] } };
const JOBS = {
  path: '/api/v1/sandbox/background-jobs/status:batchGet',
  body: { jobs: [{ sandbox_id: ID, job_id: 'deadbeef' }] },
};

test.each([STATUS, JOBS])(
  '$path: a gateway that does not know all sandboxes says to ask again, not that there is none',
  async ({ path, body }) => {
    const ask = (gateway: TestGateway): Promise<Answer> => gateway.ask('POST', path, { body });
    expect(await ask(learning)).toMatchObject({ status: 503, json: { code: 'node_unavailable' } });
    expect(await ask(sure)).toMatchObject({
      status: 200,
      json: { statuses: [], errors: [{ sandbox_id: ID, code: 'NOT_FOUND' }] },
    });
  },
);
