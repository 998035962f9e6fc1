/** A door: one way in from outside. It registers its routes and calls services; it holds no logic of its own. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { GatewayConfig } from '../config.ts';
import type { Services } from '../services.ts';

export interface Door {
  readonly name: string;
  /** Called once, in a scope of its own: parsers and hooks of one door do not reach another. */
  register(app: FastifyInstance, services: Services, config: GatewayConfig): void | Promise<void>;
  /** Takes an HTTP upgrade if it is this door's: true. It then owns the socket. Never throws. */
  upgrade?(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  /** Ends what is long-lived: sockets that were upgraded. */
  close?(): void;
}

/** Makes the routes of a door part of the app. */
export async function registerDoor(
  app: FastifyInstance,
  door: Door,
  services: Services,
  config: GatewayConfig,
): Promise<void> {
  await app.register(async (scope) => {
    await door.register(scope, services, config);
  });
}
