import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { TestGateway } from '../../testing/harness.ts';

const FILE = new URL('../../../../docs/openapi.json', import.meta.url);

test('docs/openapi.json is what the gateway serves (node src/gateway/doors/native/write-openapi.ts)', async () => {
  await using gateway = await TestGateway.start([]);
  const served = await gateway.ask('GET', '/openapi.json', { key: null });
  expect(JSON.parse(readFileSync(FILE, 'utf8'))).toEqual(served.json);
});

test('every route of the document exists, and every operation has its own name', async () => {
  await using gateway = await TestGateway.start([]);
  const { json } = await gateway.ask('GET', '/openapi.json', { key: null });
  const names: string[] = [];
  for (const [path, methods] of Object.entries(
    json.paths as Record<string, Record<string, { operationId: string; parameters?: { in: string; name: string }[] }>>,
  )) {
    for (const [method, operation] of Object.entries(methods)) {
      names.push(operation.operationId);
      const inPath = (operation.parameters ?? []).filter((p) => p.in === 'path').map((p) => p.name);
      expect([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)).toEqual(inPath);
      const answer = await gateway.ask(method.toUpperCase(), path.replace(/\{\w+\}/g, 'some-id'), { key: null });
      expect(answer.status).toBe(401);
      if (method !== 'head') expect(answer.json.error.code).toBe('unauthenticated');
    }
  }
  expect(new Set(names).size).toBe(names.length);
});

test('every reference resolves', async () => {
  await using gateway = await TestGateway.start([]);
  const { json } = await gateway.ask('GET', '/openapi.json', { key: null });
  for (const [, kind, name] of JSON.stringify(json).matchAll(/"#\/components\/(\w+)\/(\w+)"/g)) {
    expect(json.components[kind ?? '']).toHaveProperty(name ?? '');
  }
});

test('a client generated from the document accepts answers with unknown fields, and has a server address', async () => {
  await using gateway = await TestGateway.start([]);
  const { json } = await gateway.ask('GET', '/openapi.json', { key: null });
  expect(json.servers).toEqual([{ url: '/' }]);
  for (const schema of Object.values(json.components.schemas))
    expect(schema).not.toHaveProperty('additionalProperties');
});
