import { afterEach, describe, expect, test } from 'vitest';
import { FakeNode } from '../testing/fake-node.ts';
import { TestGateway } from '../testing/harness.ts';

let gateway: TestGateway | null = null;
afterEach(() => gateway?.[Symbol.asyncDispose]());

const started = async (more: object = {}) => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const id = await gateway.sandbox();
  const answer = await gateway.exec(id, { hang: true, stdout: 'one' }, { fields: { background: true, ...more } });
  const execId = answer.json.execId as string;
  return { gateway, node, execId, output: `/v1/sandboxes/${id}/execs/${execId}/output` };
};

test("a window at the end of a job's output waits for more, and for the end", async () => {
  const { gateway, node, execId, output } = await started();
  const waiting = gateway.ask('GET', `${output}?offset=3&length=100&waitMs=60000`);
  const reading = () => (node.execs.all.get(execId)?.stream ?? null) !== null;
  await gateway.until('somebody listens', reading);
  node.execs.say(execId, 'two');
  const more = await waiting;
  expect([more.bytes.toString(), more.headers['x-millibox-offset'], more.headers['x-millibox-total']]).toEqual([
    'two',
    '3',
    '6',
  ]);
  await gateway.until('nobody listens', () => !reading());
  const last = gateway.ask('GET', `${output}?offset=6&waitMs=60000`);
  await gateway.until('somebody listens', reading);
  node.execs.finish(execId);
  expect((await last).bytes.length).toBe(0);
});

test('a waiting window comes back empty after its time, and at once where there is output', async () => {
  const { gateway, output } = await started();
  expect((await gateway.ask('GET', `${output}?offset=3&waitMs=30`)).bytes.length).toBe(0);
  expect((await gateway.ask('GET', `${output}?offset=1&waitMs=60000`)).bytes.toString()).toBe('ne');
});

test("after a cut a job's stdin continues at the byte it had reached", async () => {
  const stdin = 'abcdefgh'.repeat(1_000);
  const { gateway, node, execId } = await started({ stdin });
  const exec = () => node.execs.all.get(execId);
  const got = () => Buffer.concat(exec()?.stdin ?? []).toString();
  await gateway.until('its input is there', () => got() === stdin);
  // As if the last bytes had been in flight when the link broke.
  const kept = Buffer.concat(exec()?.stdin ?? []).subarray(0, 5_000);
  exec()?.stdin.splice(0, Infinity, kept);
  node.cut();
  await gateway.until('the rest is there', () => got().length >= stdin.length);
  expect(got()).toBe(stdin);
  expect(node.execs.started).toEqual([execId]);
});

describe('a wait for a job', () => {
  const waitFor = async () => {
    const { gateway, node, execId, output } = await started();
    const { execs } = node;
    const ask = (waitMs: number) => gateway.ask('GET', `${output.replace('/output', '')}?waitMs=${waitMs}`);
    return { gateway, node, execs, execId, ask };
  };

  test('is one request to its node, which answers when the job has ended', async () => {
    const { gateway, execs, execId, ask } = await waitFor();
    const waiting = ask(60_000);
    await gateway.until('the node is asked', () => execs.all.get(execId)?.waiting.length === 1);
    execs.finish(execId, 3);
    expect((await waiting).json.exit).toMatchObject({ exitCode: 3 });
    expect(execs.looks).toBe(1);
  });

  test('ends after its time', async () => {
    const { ask } = await waitFor();
    expect((await ask(30)).json).toMatchObject({ state: 'running', exit: null });
  });

  test('survives a cut of the link to the node', async () => {
    const { gateway, node, execs, execId, ask } = await waitFor();
    const waiting = ask(60_000);
    await gateway.until('the node is asked', () => execs.looks === 1);
    node.cut();
    await gateway.until('the node is asked again', () => execs.looks === 2);
    execs.finish(execId, 3);
    expect((await waiting).json.exit).toMatchObject({ exitCode: 3 });
  });

  test('polls a node that does not hold back its answer', async () => {
    const { gateway, execs, execId, ask } = await waitFor();
    execs.holdsBack = false;
    const waiting = ask(60_000);
    await gateway.until('the node is asked again', () => execs.looks > 2);
    execs.finish(execId, 3);
    expect((await waiting).json.exit).toMatchObject({ exitCode: 3 });
  });
});
