/**
 * A door is one API of the gateway, such as the native one. It registers routes and calls services; it has no logic of
 * its own.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { GatewayConfig } from '../config.ts';
import { endBehindBody } from '../http/rest-of-body.ts';
import type { Services } from '../services.ts';

export interface Door {
  readonly name: string;
  /** Beginning of addresses whose further path is not ours: whatever its bytes are, they are not checked. */
  readonly foreign?: RegExp;
  /** Called once, in its own scope, so that parsers and hooks of one door do not affect another. */
  register(app: FastifyInstance, services: Services, config: GatewayConfig): void | Promise<void>;
  /** Returns true if the HTTP upgrade is for this door, which then owns the socket. Never throws. */
  upgrade?(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  /** Closes upgraded sockets. */
  close?(): void;
}

/** Adds the routes of a door to the app. */
export async function registerDoor(
  app: FastifyInstance,
  door: Door,
  services: Services,
  config: GatewayConfig,
): Promise<void> {
  await app.register(async (scope) => {
    scope.addHook('onSend', (request, reply, payload, next) => next(null, endBehindBody(request, reply, payload)));
    await door.register(scope, services, config);
  });
}
