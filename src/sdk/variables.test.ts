import { afterAll, expect, test } from 'vitest';
import { Millibox } from './client.ts';

const client = new Millibox({ url: 'http://127.0.0.1:1', patienceMs: 0 });
afterAll(() => client.close());
const sandbox = client.sandboxes.at('sbx-0123');

const CALLS = {
  exec: async (env: Record<string, string>) => void (await sandbox.exec('true', { env })),
  job: async (env: Record<string, string>) => void (await sandbox.exec('true', { env, background: true })),
  create: async (env: Record<string, string>) => void (await client.sandboxes.create({ env })),
  createMany: async (env: Record<string, string>) => void (await client.sandboxes.createMany(2, { env })[0]),
};

test.each(Object.entries(CALLS))('%s: the error names the invalid variable, and says why', async (_name, call) => {
  const said = (message: string) => ({ code: 'invalid_request', message });
  await expect(call({ GOOD: '1', 'A=B': '2' })).rejects.toMatchObject(
    said('env: "A=B": the name of a variable cannot contain "="'),
  );
  await expect(call({ '': '2' })).rejects.toMatchObject(said('env: "": a variable must have a name'));
  await expect(call({ 'A\0': '2' })).rejects.toMatchObject(
    said('env: "A\\u0000": the name of a variable cannot contain a zero byte'),
  );
  await expect(call({ A: '\0' })).rejects.toMatchObject(
    said('env: "A": the value of a variable cannot contain a zero byte'),
  );
  await expect(call({ A: 1 as never })).rejects.toMatchObject(
    said('env: "A": the value of a variable must be a string'),
  );
  await expect(call({ A: 'B=C', 'a b': '' })).rejects.toMatchObject({ code: 'node_unavailable' });
});

test.each(['', 'abc ', 'a\nb', 'é', 'x'.repeat(256), 42 as never])(
  'the idempotency key %j, which not every way to the service would carry, is refused at once',
  (idempotencyKey) => {
    const said = expect.objectContaining({ code: 'invalid_request' }) as Error;
    expect(() => client.sandboxes.create({ idempotencyKey })).toThrow(said);
    expect(() => client.sandboxes.createMany(2, { idempotencyKey })).toThrow(said);
  },
);

test('a secret is reported by its name only', async () => {
  const create = async () => void (await client.sandboxes.create({ secrets: { 'A=B': 'hidden' } }));
  await expect(create()).rejects.toMatchObject({
    message: 'secrets: "A=B": the name of a variable cannot contain "="',
  });
});

test('anything but a map of texts does not compile', () => {
  type Create = Parameters<typeof client.sandboxes.create>[0];
  // @ts-expect-error numbers
  const env: Create = { env: { A: 1 } };
  // @ts-expect-error no map
  const secrets: Create = { secrets: 'A=1' };
  // @ts-expect-error numbers
  const labels: Create = { labels: { a: 1 } };
  expect([env, secrets, labels]).toHaveLength(3);
});
