/**
 * `/v1/ws`: many streams of one client over one WebSocket, each joined to a stream of a node. The key is checked once,
 * before the upgrade; the client's first frames may follow its request without waiting for the answer.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { acceptWs, createMux, type Mux, type Transport } from '../../../mux/index.ts';
import { CLIENT_GENERATION, CLIENT_PATH, CLIENT_SUBPROTOCOL, type GatewayHello } from '../../../protocol/client.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import { newRequestId } from '../../../protocol/ids.ts';
import type { Caller } from '../../auth/auth.ts';
import { refuseUpgrade } from '../../http/upgrade.ts';
import type { Services } from '../../services.ts';
import { EventStreams } from './events.ts';
import { openStream } from './streams.ts';

interface Client {
  mux: Mux;
  caller: Caller;
}

export class ClientSockets {
  readonly #services: Services;
  readonly #clients = new Set<Client>();

  constructor(services: Services) {
    this.#services = services;
    services.lifecycle.onDrain(() => {
      for (const client of this.#clients) client.mux.goaway();
    });
    services.auth.onReplace(() => {
      for (const { mux, caller } of [...this.#clients]) {
        if (!services.auth.isValid(caller)) mux.close(new ServiceError('unauthenticated', 'the API key was revoked'));
      }
    });
    services.lifecycle.onExpire(() => this.close());
  }

  /** Takes the upgrade if it is for `/v1/ws`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    if (pathOf(request) !== CLIENT_PATH) return false;
    const requestId = newRequestId();
    try {
      const caller = this.#services.auth.byHeader(request.headers.authorization);
      this.#services.lifecycle.assertOpen();
      this.#begin(acceptWs(request, socket, head, CLIENT_SUBPROTOCOL), caller);
    } catch (error) {
      refuseUpgrade(socket, ServiceError.from(error), requestId);
    }
    return true;
  }

  /** Closes all remaining clients with 1001 (going away). */
  close(): void {
    for (const { mux } of this.#clients) mux.close(new ServiceError('draining'));
  }

  #begin(transport: Transport, caller: Caller): void {
    const { lifecycle, log } = this.#services;
    // A client counts as work in progress while it has streams: a shutdown waits for them.
    let streams = 0;
    const events = new EventStreams(this.#services.sandboxes);
    let release: () => void = () => undefined;
    const settle = (): void => {
      if (streams > 0) return;
      release();
      if (lifecycle.draining) mux.close(new ServiceError('draining'));
    };
    const mux = createMux({
      transport,
      role: 'listener',
      hello: { generation: CLIENT_GENERATION, calls: true } satisfies GatewayHello,
      onHello: (hello) => {
        if (hello['generation'] !== CLIENT_GENERATION)
          throw new ServiceError('not_supported', 'the client speaks another generation of the protocol');
      },
      onOpen: (stream) => {
        lifecycle.assertOpen();
        const handler = openStream(stream, caller, this.#services, events);
        if (streams === 0) release = lifecycle.begin();
        streams += 1;
        return {
          ...handler,
          closed: (error) => {
            try {
              handler.closed?.(error);
            } finally {
              streams -= 1;
              settle();
            }
          },
        };
      },
      onClose: (error) => {
        this.#clients.delete(client);
        if (error !== null && error.code === 'protocol_error') {
          log.info({ tenant: caller.tenant, reason: error.message }, 'a client violated the protocol');
        }
      },
      onFailure: (error) => log.error({ err: error, tenant: caller.tenant }, 'a handler of a client failed'),
    });
    const client: Client = { mux, caller };
    if (mux.closed) return;
    this.#clients.add(client);
    if (!lifecycle.draining) return;
    mux.goaway();
    settle();
  }
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}
