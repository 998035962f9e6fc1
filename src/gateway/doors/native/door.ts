/** The native API: REST under `/v1`, and one multiplexed WebSocket. */
import { readJsonStrictly } from '../../http/json.ts';
import { registerRoutes, type Route } from '../../http/route.ts';
import type { Services } from '../../services.ts';
import type { Door } from '../door.ts';
import { execRoutes } from './exec-routes.ts';
import { fileContentRoutes } from './file-content.ts';
import { fileRoutes } from './file-routes.ts';
import { nativeOpenApi } from './openapi.ts';
import { operatorRoutes } from './operator-routes.ts';
import { PREVIEWS } from './preview-access.ts';
import { upgradePreview } from './preview-upgrade.ts';
import { previewRoutes, registerPreview } from './preview.ts';
import { sandboxRoutes } from './sandbox-routes.ts';
import { tenantRoutes } from './tenant-routes.ts';
import { ClientSockets } from './websocket.ts';

export function nativeRoutes(services: Services): Route[] {
  return [
    ...sandboxRoutes(services),
    ...execRoutes(services),
    ...fileContentRoutes(services.files),
    ...fileRoutes(services.files),
    ...previewRoutes(services),
    ...tenantRoutes(services),
    ...operatorRoutes(services),
  ];
}

export function createNativeDoor(): Door {
  let sockets: ClientSockets | null = null;
  let known: Services | null = null;
  return {
    name: 'native',
    foreign: PREVIEWS,
    async register(app, services) {
      known = services;
      sockets = new ClientSockets(services);
      const routes = nativeRoutes(services);
      let document: Record<string, unknown> | null = null;
      app.get('/openapi.json', () => (document ??= nativeOpenApi(routes)));
      await app.register(async (json) => {
        readJsonStrictly(json);
        registerRoutes(
          json,
          services,
          routes.filter((route) => route.rawBody === undefined),
        );
      });
      await app.register(async (raw) => {
        // Binary bodies are not parsed but passed on as streams.
        raw.removeAllContentTypeParsers();
        raw.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
        registerRoutes(
          raw,
          services,
          routes.filter((route) => route.rawBody !== undefined),
        );
        registerPreview(raw, services);
      });
    },
    upgrade: (request, socket, head) =>
      (sockets?.upgrade(request, socket, head) ?? false) ||
      (known !== null && upgradePreview(known, request, socket, head)),
    close: () => sockets?.close(),
  };
}
