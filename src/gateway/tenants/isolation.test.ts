/** What a tenant can reach of another tenant: nothing, through any route. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPrimeDoor } from '../doors/prime/door.ts';
import { nativeRoutes } from '../doors/native/door.ts';
import { nativeOpenApi } from '../doors/native/openapi.ts';
import type { Services } from '../services.ts';
import { openClientStream } from '../testing/client-stream.ts';
import { KEY, OTHER_KEY, TestGateway, type Answer } from '../testing/harness.ts';

interface Request {
  query?: string;
  body?: object;
  raw?: string;
}

/** A call of each operation on a sandbox that succeeds for its owner. A new operation must be added here. */
const CALLS: Record<string, Request> = {
  getSandbox: {},
  deleteSandbox: {},
  extendSandbox: { body: { timeoutMs: 1000 } },
  keepSandboxAlive: {},
  exec: { body: { command: '{"stdout":"hi"}' } },
  listExecs: {},
  getExec: {},
  getExecOutput: {},
  signalExec: { body: { signal: 'KILL' } },
  readFile: { query: '?path=/secret' },
  headFile: { query: '?path=/secret' },
  writeFile: { query: '?path=/secret', raw: 'mine now' },
  removeFile: { query: '?path=/secret' },
  listFiles: { query: '?path=/' },
  statFile: { query: '?path=/secret' },
  makeDirectory: { body: { path: '/d' } },
  moveFile: { body: { path: '/secret', to: '/stolen' } },
  changeMode: { body: { path: '/secret', mode: 0o777 } },
  readTree: { query: '?path=/' },
  writeTree: { query: '?path=/', raw: '' },
  createPreview: { body: { port: 80 } },
};
/** These do not concern a single sandbox; each has a test of its own below. */
const COLLECTIONS = ['createSandbox', 'listSandboxes', 'deleteSandboxes', 'getTenant'];

interface Operation {
  id: string;
  method: string;
  path: string;
  admin: boolean;
}

/** Read from the OpenAPI document: every route that is added is tried. */
function operations(): Operation[] {
  const { paths } = nativeOpenApi(nativeRoutes({} as Services)) as {
    paths: Record<string, Record<string, { operationId: string; summary: string }>>;
  };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId, summary }]) => ({
      id: operationId,
      method: method.toUpperCase(),
      path,
      admin: summary.endsWith('(administrators)'),
    })),
  );
}

const ofSandboxes = operations().filter(({ path }) => path.includes('{id}'));
const ofOperators = operations().filter(({ admin }) => admin);

let gateway: TestGateway;
/** The owner's sandbox, with a command that keeps running. */
let id: string;
let execId: string;

beforeAll(async () => {
  gateway = await TestGateway.start(undefined, {}, [createPrimeDoor()]);
  id = await gateway.sandbox({ name: 'mine', labels: { owner: 'default' } });
  const started = await gateway.exec(id, { hang: true }, { fields: { background: true } });
  execId = started.json.execId;
});
afterAll(() => gateway[Symbol.asyncDispose]());

function call({ id: name, method, path }: Operation, key: string | null): Promise<Answer> {
  const { query = '', body, raw } = CALLS[name] ?? {};
  const url = path.replace('{id}', id).replace('{execId}', execId).replace('{name}', 'node-a') + query;
  return gateway.ask(method, url, {
    key,
    ...(body === undefined ? {} : { body }),
    ...(raw === undefined ? {} : { raw, headers: { 'content-type': 'application/x-tar' } }),
  });
}

/** Every request to the node, except watches. */
const asked = (): Record<string, number> =>
  Object.fromEntries([...gateway.node.opened].filter(([op]) => op !== 'watch'));

test('every operation of the document is tried', () => {
  expect(operations().length).toBeGreaterThan(25);
  const covered = [...Object.keys(CALLS), ...COLLECTIONS, ...ofOperators.map((operation) => operation.id)];
  expect(
    operations()
      .map((operation) => operation.id)
      .sort(),
  ).toEqual(covered.sort());
});

describe("on another tenant's sandbox", () => {
  test.each(ofSandboxes)('$id ($method $path) is sandbox_not_found, and has no effect', async (operation) => {
    const before = asked();
    const answer = await call(operation, OTHER_KEY);
    expect(answer.status).toBe(404);
    // The answer to a HEAD has no body.
    if (operation.method !== 'HEAD') expect(answer.json.error.code).toBe('sandbox_not_found');
    expect(JSON.stringify(answer.json) ?? '').not.toContain('mine');
    expect(asked()).toEqual(before);
  });

  test('the answer is the same for a sandbox that never existed', async () => {
    const there = await gateway.ask('GET', `/v1/sandboxes/${id}`, { key: OTHER_KEY });
    const never = await gateway.ask('GET', '/v1/sandboxes/sbx-00000000000000000000', { key: OTHER_KEY });
    const plain = ({ status, json }: Answer) => ({ status, ...json.error, requestId: null });
    expect(plain(there)).toEqual(plain(never));
  });

  test.each(['exec', 'attach', 'file', 'port', 'events'])('the stream %s is refused', async (op) => {
    const before = asked();
    const mux = await gateway.ws({ key: OTHER_KEY });
    const more = {
      exec: { command: '{}' },
      attach: { id: execId, stdout: 0, stderr: 0 },
      file: { call: 'stat', path: '/secret' },
      port: { port: 80 },
      events: {},
    }[op];
    const client = openClientStream(mux, { op, sandbox: id, ...more });
    expect(await client.closed).toMatchObject({ code: 'sandbox_not_found' });
    expect(asked()).toEqual(before);
  });

  test.each(['', '/', '/admin?x=1'])('the port %j is not there', async (path) => {
    const before = asked();
    for (const method of ['GET', 'POST', 'DELETE']) {
      const answer = await gateway.ask(method, `/v1/sandboxes/${id}/ports/80${path}`, { key: OTHER_KEY });
      expect(answer.json.error.code).toBe('sandbox_not_found');
    }
    expect(asked()).toEqual(before);
  });

  test.each([
    ['GET', ''],
    ['DELETE', ''],
    ['GET', '/logs'],
    ['GET', '/error-context'],
    ['POST', '/auth'],
    ['GET', '/expose'],
    ['POST', '/expose', { port: 80 }],
    ['GET', '/egress-policy'],
    ['PUT', '/egress-policy', { allowlist: [], denylist: null }],
  ] as const)('on the wire of Prime %s %j is not found', async (method, path, body?: object) => {
    const before = asked();
    const asking = { key: OTHER_KEY, ...(body === undefined ? {} : { body }) };
    expect((await gateway.ask(method, `/api/v1/sandbox/${id}${path}`, asking)).status).toBe(404);
    expect(asked()).toEqual(before);
  });
});

describe('over all sandboxes', () => {
  test("a list contains only the tenant's own, whatever the filter", async () => {
    for (const query of ['', '?label=owner=default', '?name=mine', '?status=RUNNING']) {
      const { json } = await gateway.ask('GET', `/v1/sandboxes${query}`, { key: OTHER_KEY });
      expect(json).toEqual({ sandboxes: [], nextCursor: null });
    }
    const { json } = await gateway.ask('GET', '/v1/sandboxes?limit=1');
    const cursor = Buffer.from(`0:${id}`).toString('base64url');
    const page = await gateway.ask('GET', `/v1/sandboxes?cursor=${cursor}`, { key: OTHER_KEY });
    expect(json.sandboxes).toHaveLength(1);
    expect(page.json.sandboxes).toEqual([]);
    expect((await gateway.ask('GET', '/api/v1/sandbox', { key: OTHER_KEY })).json.total).toBe(0);
  });

  test("deleting by label deletes only the tenant's own", async () => {
    const answer = await gateway.ask('DELETE', '/v1/sandboxes?label=owner=default', { key: OTHER_KEY });
    expect(answer.json).toEqual({ deleted: 0 });
    expect(gateway.services.sandboxes.get('default', id).status).toBe('RUNNING');
  });

  test('a tenant sees its own tenant record', async () => {
    const { json } = await gateway.ask('GET', '/v1/tenant', { key: OTHER_KEY });
    expect(json).toMatchObject({ tenant: 'other', admin: false, used: { sandboxes: 0, execs: 0 } });
    expect((await gateway.ask('GET', '/v1/tenant')).json).toMatchObject({ tenant: 'default', admin: true });
  });

  test("one tenant's idempotency key reveals nothing to another", async () => {
    const keyed = (key: string, body: object) =>
      gateway.ask('POST', '/v1/sandboxes', { key, body, headers: { 'idempotency-key': 'shared' } });
    const mine = await keyed(KEY, { name: 'a' });
    const theirs = await keyed(OTHER_KEY, { name: 'b' });
    expect(theirs.status).toBe(201);
    expect(theirs.json.id).not.toBe(mine.json.id);
    await gateway.ask('DELETE', `/v1/sandboxes/${theirs.json.id}`, { key: OTHER_KEY });
  });

  test('events are only those of the tenant', async () => {
    const mux = await gateway.ws({ key: OTHER_KEY });
    const client = openClientStream(mux, { op: 'events' });
    await client.opened;
    await gateway.sandbox();
    const { json } = await gateway.ask('POST', '/v1/sandboxes', { key: OTHER_KEY, body: { name: 'theirs' } });
    const event = await client.event('sandbox');
    expect(event['sandbox']).toMatchObject({ id: json.id, name: 'theirs' });
  });
});

test.each(ofOperators)('$id is for administrators', async (operation) => {
  const before = asked();
  expect((await call(operation, OTHER_KEY)).json.error.code).toBe('forbidden');
  expect(asked()).toEqual(before);
});

test("a token for a port opens no other, and no preview of another tenant's sandbox can be created", async () => {
  const theirs = (await gateway.ask('POST', '/v1/sandboxes?waitMs=20000', { key: OTHER_KEY, body: {} })).json.id;
  const made = await gateway.ask('POST', `/v1/sandboxes/${theirs}/previews`, { key: OTHER_KEY, body: { port: 80 } });
  const headers = { 'x-millibox-token': made.json.token as string };
  const answer = await gateway.ask('GET', `/v1/sandboxes/${id}/ports/80/`, { key: null, headers });
  expect(answer.json.error.code).toBe('unauthenticated');
});

test('batches over the Prime API find nothing of another tenant', async () => {
  const ids = { sandbox_ids: [id] };
  const status = await gateway.ask('POST', '/api/v1/sandbox/status:batchGet', { key: OTHER_KEY, body: ids });
  expect(status.json).toMatchObject({ statuses: [], errors: [{ sandbox_id: id, code: 'NOT_FOUND' }] });
  const deleted = await gateway.ask('DELETE', '/api/v1/sandbox', { key: OTHER_KEY, body: ids });
  expect(deleted.json).toMatchObject({ succeeded: [], failed: [{ sandbox_id: id }] });
  expect(gateway.services.sandboxes.get('default', id).status).toBe('RUNNING');
});

// Last, because its owner deletes it.
test('all the same calls succeed for the owner', async () => {
  gateway.node.files.all.set('/secret', Buffer.from('mine'));
  const tryIt = async (operation: Operation): Promise<void> => {
    const { status, json } = await call(operation, KEY);
    // An earlier operation may have removed the file.
    const works = status < 400 || (operation.method === 'HEAD' ? status === 404 : json.error.code === 'file_not_found');
    expect([operation.id, works ? 'works' : json?.error]).toEqual([operation.id, 'works']);
  };
  const isDelete = (operation: Operation): boolean => operation.id === 'deleteSandbox';
  for (const operation of ofSandboxes) if (!isDelete(operation)) await tryIt(operation);
  for (const operation of ofSandboxes) if (isDelete(operation)) await tryIt(operation);
});
