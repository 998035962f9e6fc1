/** What a registry, or a proxy before it, says by an HTTP status alone. */
import type http from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OCI, OddRegistry, sha256 } from './odd-registry.ts';
import { because, codeOf, lacking, openStore, type OwnStore } from './store.ts';
import { tar } from './tar.ts';

describe.skipIf(lacking !== '')(`the status of a registry's answer${because}`, () => {
  let registry: OddRegistry;
  let own: OwnStore;
  beforeAll(async () => {
    registry = await OddRegistry.start();
    own = await openStore();
  });
  afterAll(async () => {
    await own?.dispose();
    await registry?.[Symbol.asyncDispose]();
  });

  const pull = (name: string): Promise<string> => codeOf(own.store.ensure(`${registry.host}/${name}:1`, {}));
  const answering =
    (status: number) =>
    (_request: http.IncomingMessage, response: http.ServerResponse): unknown =>
      response.writeHead(status, { 'content-type': 'text/html' }).end('<html>a page</html>');

  test.each([
    [400, 'image_invalid'],
    [401, 'image_unauthorized'],
    [403, 'image_unauthorized'],
    [404, 'image_not_found'],
    [500, 'image_unreachable'],
    [502, 'image_unreachable'],
    [503, 'image_unreachable'],
    [504, 'image_unreachable'],
  ])('%i for a manifest is %s', async (status, code) => {
    registry.answers.set(`/v2/manifest/${status}/manifests/1`, answering(status));
    expect(await pull(`manifest/${status}`)).toBe(code);
  });

  test.each([
    [403, 'image_unauthorized'],
    [404, 'image_invalid'],
    [410, 'image_invalid'],
    [500, 'image_unreachable'],
    [503, 'image_unreachable'],
  ])('%i for a layer is %s', async (status, code) => {
    const name = `layer/${status}`;
    const data = tar([{ path: 'file', body: name }]);
    const layer = registry.blob(name, gzipSync(data), `${OCI}layer.v1.tar+gzip`);
    registry.image(name, { layers: [layer], diffIds: [sha256(data)] });
    registry.answers.set(`/v2/${name}/blobs/${layer.digest}`, answering(status));
    expect(await pull(name)).toBe(code);
  });

  test.each([
    ['at its door', '/v2/'],
    ['at the source of its tokens', '/token'],
  ])('503 %s is image_unreachable', async (_where, path) => {
    registry.guard = (request, response) => {
      if (request.url?.startsWith(path) === true) answering(503)(request, response);
      else if (request.url === '/v2/' && request.headers.authorization === undefined) {
        const challenge = `Bearer realm="http://${registry.host}/token",service="test"`;
        response.writeHead(401, { 'www-authenticate': challenge }).end('{}');
      } else return false;
      return true;
    };
    try {
      expect(await pull('any/name')).toBe('image_unreachable');
    } finally {
      registry.guard = () => false;
    }
  });
});
