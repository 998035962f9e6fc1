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
  '$path: a gateway that does not know all sandboxes says to retry, not that there are none',
  async ({ path, body }) => {
    const ask = (gateway: TestGateway): Promise<Answer> => gateway.ask('POST', path, { body });
    expect(await ask(learning)).toMatchObject({ status: 503, json: { code: 'node_unavailable' } });
    expect(await ask(sure)).toMatchObject({
      status: 200,
      json: { statuses: [], errors: [{ sandbox_id: ID, code: 'NOT_FOUND' }] },
    });
  },
);

test('known sandboxes are answered all the same, and unknown ones are reported as not there yet', async () => {
  const known = await learning.sandbox();
  const both = await learning.ask('POST', STATUS.path, { body: { sandbox_ids: [ID, known] } });
  expect(both).toMatchObject({
    status: 200,
    json: {
      statuses: [
        { sandbox_id: ID, status: 'PENDING', error_type: null, error_message: expect.any(String) },
        { sandbox_id: known, status: 'RUNNING', error_message: null },
      ],
      errors: [],
    },
  });
  const jobs = [...JOBS.body.jobs, { sandbox_id: known, job_id: 'cafe' }];
  const ended = await learning.sandbox();
  await learning.ask('DELETE', `/v1/sandboxes/${ended}`);
  jobs.push({ sandbox_id: ended, job_id: 'cafe' });
  expect(await learning.ask('POST', JOBS.path, { body: { jobs } })).toMatchObject({
    status: 200,
    json: {
      statuses: expect.arrayContaining([{ ...JOBS.body.jobs[0], completed: false, exit_code: null }]),
      errors: expect.arrayContaining(
        [{ sandbox_id: ended, job_id: 'cafe', code: 'NOT_RUNNING' }].map((each) => expect.objectContaining(each)),
      ),
    },
  });
});

test('a job whose node is away for longer than a call waits is not over', async () => {
  const node = new FakeNode();
  await using gateway = await TestGateway.start([node], { linkPatienceMs: 50 }, [createPrimeDoor()]);
  const sandbox_id = await gateway.sandbox();
  node.vanish();
  await gateway.until('it is away', () => gateway.services.nodes.list().some(({ state }) => state === 'away'));
  const job = { sandbox_id, job_id: 'cafe' };
  expect(await gateway.ask('POST', JOBS.path, { body: { jobs: [job] } })).toMatchObject({
    status: 200,
    json: { statuses: [{ ...job, completed: false, exit_code: null }], errors: [] },
  });
});
