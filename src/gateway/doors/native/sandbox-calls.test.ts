/** Creates and deletes over a client's WebSocket mean what they mean over HTTP. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import type { Json, Mux } from '../../../mux/index.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import { openClientStream, type ClientStream } from '../../testing/client-stream.ts';
import { FakeNode } from '../../testing/fake-node.ts';
import { OTHER_KEY, TestGateway } from '../../testing/harness.ts';
import { parseTenants } from '../../tenants/file.ts';

let gateway: TestGateway;
afterEach(() => gateway[Symbol.asyncDispose]());

function ask(mux: Mux, request: Json): ClientStream {
  const client = openClientStream(mux, request);
  client.stream.end();
  return client;
}

const create = (mux: Mux, spec: Json, key?: string): ClientStream => ask(mux, { op: 'create', key, ...spec });
/** A line in which calls wait until the test begins them. */
function heldLine({ services }: TestGateway) {
  const line = { entered: 0, waiting: new Set<() => void>() };
  vi.spyOn(services.bursts, 'enter').mockImplementation((_tenant, begin) => {
    line.entered += 1;
    line.waiting.add(begin);
    return () => void line.waiting.delete(begin);
  });
  return line;
}

const idOf = async (created: ClientStream): Promise<string> => String((await created.opened)['id']);

test('a create and a delete are answered with what a GET shows, and end their streams', async () => {
  gateway = await TestGateway.start();
  const mux = await gateway.ws();
  const created = create(mux, { name: 'mine', labels: { run: '7' } });
  const answer = await created.opened;
  expect(answer).toMatchObject({ name: 'mine', labels: { run: '7' }, endedAt: null });
  expect(await created.closed).toBeNull();
  const path = `/v1/sandboxes/${String(answer['id'])}`;
  expect((await gateway.ask('GET', path)).json).toMatchObject({ name: 'mine', createdAt: answer['createdAt'] });
  const deleted = ask(mux, { op: 'delete', sandbox: answer['id'] });
  expect(await deleted.opened).toMatchObject({ id: answer['id'], status: 'TERMINATED', reason: 'deleted' });
  expect(await deleted.closed).toBeNull();
  expect((await gateway.ask('GET', path)).json.status).toBe('TERMINATED');
});

test('one key is one sandbox, whichever way it is sent, and another spec is a conflict', async () => {
  gateway = await TestGateway.start();
  const mux = await gateway.ws();
  const spec = { image: 'image', env: { A: 'b' }, memoryMb: 64 };
  const over = () => gateway.ask('POST', '/v1/sandboxes', { body: spec, headers: { 'idempotency-key': 'k' } });
  const ids = await Promise.all([idOf(create(mux, spec, 'k')), over().then(({ json }) => json.id as string)]);
  ids.push(await idOf(create(mux, spec, 'k')));
  expect(new Set(ids).size).toBe(1);
  await expect(create(mux, { ...spec, memoryMb: 65 }, 'k').opened).rejects.toMatchObject({
    code: 'idempotency_conflict',
  });
});

test.each<[string, Json, string]>([
  ['an unknown field', { op: 'create', colour: 'red' }, 'body: '],
  ['a wrong field', { op: 'create', cpus: 'two' }, 'body.cpus'],
  ['a batch', { op: 'create', count: 2 }, 'body: '],
  ['a key that is no header value', { op: 'create', key: 'ä' }, 'key '],
  ['a delete of nothing', { op: 'delete' }, 'open.sandbox'],
])('%s is refused, and the field is named', async (_what, request, where) => {
  gateway = await TestGateway.start();
  const refused = ask(await gateway.ws(), request);
  const error = await refused.opened.then(
    () => null,
    (thrown: unknown) => thrown as ServiceError,
  );
  expect(error?.code).toBe('invalid_request');
  expect(error?.message.startsWith(where)).toBe(true);
  expect(gateway.node.records.size).toBe(0);
});

test('a refusal that would quote more than a frame takes says which it is', async () => {
  gateway = await TestGateway.start();
  const refused = create(await gateway.ws(), { labels: { ['x'.repeat(600_000)]: 'y' } });
  await expect(refused.opened).rejects.toMatchObject({ code: 'invalid_request' });
});

test("a refusal by the tenant's limits says when to try again", async () => {
  const tenants = parseTenants({ defaults: {}, tenants: { default: { sandboxes: 1 } } });
  gateway = await TestGateway.start(undefined, { tenants });
  const mux = await gateway.ws();
  await create(mux, {}).opened;
  const error = await create(mux, {}).opened.catch((thrown: unknown) => thrown as ServiceError);
  expect(error).toMatchObject({ code: 'quota_exceeded', details: { quota: 'sandboxes', limit: 1, used: 1 } });
  expect((error as ServiceError).retryAfterMs).toBeGreaterThan(0);
});

test('their outcomes count like those of HTTP calls', async () => {
  gateway = await TestGateway.start();
  const answered = vi.spyOn(gateway.services.metrics, 'answered');
  const mux = await gateway.ws();
  await create(mux, {}).opened;
  await create(mux, { cpus: 0 }).closed;
  await ask(mux, { op: 'delete', sandbox: 'sbx-none' }).closed;
  expect(answered.mock.calls.map(([status]) => status)).toEqual([200, 400, 404]);
});

test("another tenant's sandbox does not exist", async () => {
  gateway = await TestGateway.start();
  const id = await gateway.sandbox();
  const stranger = await gateway.ws({ key: OTHER_KEY });
  await expect(ask(stranger, { op: 'delete', sandbox: id }).opened).rejects.toMatchObject({
    code: 'sandbox_not_found',
  });
  expect((await gateway.ask('GET', `/v1/sandboxes/${id}`)).json.status).toBe('RUNNING');
});

test('a burst of creates is begun over several turns of the event loop', async () => {
  gateway = await TestGateway.start();
  const begun = vi.spyOn(gateway.services.sandboxes, 'create');
  const mux = await gateway.ws();
  const made = Array.from({ length: 100 }, () => create(mux, {}));
  await gateway.until('the first are begun', () => begun.mock.calls.length > 0);
  expect(begun.mock.calls.length).toBeLessThan(60);
  const ids = await Promise.all(made.map(idOf));
  expect(new Set(ids).size).toBe(100);
  expect(gateway.node.records.size).toBe(100);
});

test('a create whose client has gone before its turn makes nothing', async () => {
  gateway = await TestGateway.start();
  const mux = await gateway.ws();
  const line = heldLine(gateway);
  const made = create(mux, {});
  await gateway.until('it waits', () => line.entered === 1);
  made.stream.reset(new ServiceError('cancelled'));
  const unknown = ask(mux, { op: 'delete', sandbox: 'sbx-none' });
  await gateway.until('what was sent after it has arrived', () => line.entered === 2);
  expect(line.waiting.size).toBe(1);
  for (const begin of line.waiting) begin();
  await expect(unknown.opened).rejects.toMatchObject({ code: 'sandbox_not_found' });
  await nextTurn();
  expect(gateway.node.records.size).toBe(0);
});

test('no more than a bounded number of a tenant wait, and other tenants come in between', async () => {
  gateway = await TestGateway.start();
  const [mine, other] = [await gateway.ws(), await gateway.ws({ key: OTHER_KEY })];
  const ends: string[] = [];
  const gone = (mux: Mux, who: string): Promise<unknown> =>
    ask(mux, { op: 'delete', sandbox: 'sbx-none' }).closed.then((error) => ends.push(`${who} ${error?.code}`));
  const many = Array.from({ length: 1_000 }, () => gone(mine, 'mine'));
  await gateway.until('the first have ended', () => ends.length > 0);
  await gone(other, 'other');
  expect(ends.indexOf('other sandbox_not_found')).toBeLessThan(900);
  await Promise.all(many);
});

test("requests of streams that their client does not end are bounded, and another tenant's are not affected", async () => {
  gateway = await TestGateway.start();
  const [mine, other] = [await gateway.ws(), await gateway.ws({ key: OTHER_KEY })];
  const env = Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`V${i}`, 'x'.repeat(125_000)]));
  const unended = (mux: Mux): ClientStream => openClientStream(mux, { op: 'create', key: 'one', env });
  const streams: ClientStream[] = [];
  const next = (mux: Mux): Promise<string> => {
    const stream = unended(mux);
    streams.push(stream);
    return stream.opened.then(
      () => 'made',
      (error: ServiceError) => error.code,
    );
  };
  const answers: string[] = [];
  while (answers.at(-1) !== 'rate_limited' && answers.length < 100) answers.push(await next(mine));
  expect(answers.indexOf('rate_limited')).toBeGreaterThan(60);
  expect(await next(other)).toBe('made');
  streams[0]?.stream.end();
  await streams[0]?.closed;
  expect(await next(mine)).toBe('made');
});

test('a gateway that drains refuses creates as draining, so that they go to another', async () => {
  const node = new FakeNode();
  gateway = await TestGateway.start([node]);
  const mux = await gateway.ws();
  const line = heldLine(gateway);
  const made = create(mux, {});
  await gateway.until('it waits', () => line.entered === 1);
  const drained = gateway.services.lifecycle.drain(20_000);
  for (const begin of line.waiting) begin();
  await expect(made.opened).rejects.toMatchObject({ code: 'draining' });
  await drained;
  expect(node.records.size).toBe(0);
});
