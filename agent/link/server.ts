/** The agent's port: the node link for gateways, /healthz and /metrics. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { hangUp } from '../../src/lib/hang-up.ts';
import { agentProof } from '../../src/lib/node-auth.ts';
import type { Logger } from '../../src/lib/logger.ts';
import {
  acceptWs,
  createMux,
  type Mux,
  type MuxStream,
  type StreamHandler,
  type Transport,
} from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { NODE_GENERATION, NODE_PATH, NODE_SUBPROTOCOL, type NodeHello } from '../../src/protocol/node.ts';
import { NODE_ANSWER_FACTOR } from '../../src/protocol/limits.ts';
import { bindSocketFile, closeServer, listen } from '../listen.ts';
import { UnfinishedStreams } from './unfinished.ts';
import { isMetricsRequest, pathOf, writeMetrics } from './metrics-server.ts';
import { NodeGuard } from './node-guard.ts';

const MAX_LINKS = 256;
const MAX_CONNECTIONS = 1_024;
const HEADERS_MS = 5_000;

interface NodeServerOptions {
  listen: { host: string; port: number };
  /** A unix socket that serves the same, for gateways on this machine. */
  socketFile: string;
  secret: string;
  node: string;
  version: string;
  bootId: string;
  log: Logger;
  heartbeat: { intervalMs: number; deadAfterMs: number };
  /** Handles a gateway's stream; a throw refuses it. */
  onStream(stream: MuxStream): StreamHandler;
  /** Text of /metrics. */
  metrics(): Promise<string>;
}

export interface NodeServer {
  readonly port: number;
  readonly links: number;
  /** Bytes over all links so far. */
  bytes(): { in: number; out: number };
  /** Resolves once no stream is open that a cut would break, or after `ms`. New ones are accepted until `close`. */
  settled(ms: number): Promise<void>;
  /** Closes all links; gateways redial and continue with the next agent. */
  close(): Promise<void>;
}

/** Resolves once the port is bound. @throws what `listen` throws. */
export async function serveNode(options: NodeServerOptions): Promise<NodeServer> {
  const server = new LinkServer(options);
  await server.listen();
  return server;
}

class LinkServer implements NodeServer {
  readonly #options: NodeServerOptions;
  readonly #guard: NodeGuard;
  readonly #http: Server;
  readonly #local: Server;
  readonly #links = new Set<Mux>();
  readonly #unfinished = new UnfinishedStreams();
  #past = { in: 0, out: 0 };
  #closing = false;

  constructor(options: NodeServerOptions) {
    this.#options = options;
    this.#guard = new NodeGuard(options.secret);
    this.#http = this.#server();
    this.#local = this.#server();
  }

  async listen(): Promise<void> {
    const { socketFile, log } = this.#options;
    await listen(this.#http, this.#options.listen);
    this.#http.on('error', (error) => log.error({ err: error }, 'agent port error'));
    try {
      await bindSocketFile(this.#local, socketFile);
    } catch (error) {
      // Not fatal: gateways can use the port.
      log.warn({ err: error, socketFile }, 'no local socket: local gateways must use TCP');
    }
    this.#local.on('error', (error) => log.error({ err: error }, 'agent socket error'));
  }

  #server(): Server {
    const server = createServer({ headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'a request to the agent failed');
        response.destroy();
      });
    });
    server.maxConnections = MAX_CONNECTIONS;
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    server.on('clientError', (_error, socket) => socket.destroy());
    return server;
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get links(): number {
    return this.#links.size;
  }

  bytes(): { in: number; out: number } {
    const sum = { ...this.#past };
    for (const { stats } of this.#links) {
      sum.in += stats.bytesIn;
      sum.out += stats.bytesOut;
    }
    return sum;
  }

  settled(ms: number): Promise<void> {
    return this.#unfinished.settled(ms);
  }

  async close(): Promise<void> {
    this.#closing = true;
    for (const link of this.#links) link.close(new ServiceError('draining'));
    await Promise.all([closeServer(this.#http), closeServer(this.#local)]);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pathname = pathOf(request);
    // Shows only that this process is serving, so that its supervisor restarts it when it is not.
    if (request.method === 'GET' && pathname === '/healthz') return void response.writeHead(200).end('ok\n');
    if (isMetricsRequest(request) && isLocal(request))
      return await writeMetrics(response, () => this.#options.metrics());
    response.writeHead(404, { connection: 'close' }).end();
  }

  /** Authenticates before the handshake. */
  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    if (pathOf(request) !== NODE_PATH) return refuse(socket, new ServiceError('not_found'));
    const nonce = this.#guard.admit(request.headers.authorization);
    if (nonce === undefined) {
      const details = { challenge: this.#guard.challenge() };
      return refuse(socket, new ServiceError('unauthenticated', 'proof of the node secret is required', { details }));
    }
    if (this.#closing) return refuse(socket, new ServiceError('draining'));
    if (this.#links.size >= MAX_LINKS) return refuse(socket, new ServiceError('rate_limited', 'too many links'));
    try {
      this.#link(acceptWs(request, socket, head, NODE_SUBPROTOCOL), nonce);
    } catch (error) {
      refuse(socket, ServiceError.from(error));
    }
  }

  #link(transport: Transport, nonce: string): void {
    const { node, version, bootId, secret, log, heartbeat } = this.#options;
    const proof = agentProof(secret, nonce, node, bootId);
    const hello: NodeHello = { generation: NODE_GENERATION, node, version, bootId, proof };
    const beganAt = performance.now();
    const mux = createMux({
      transport,
      role: 'listener',
      hello,
      pingIntervalMs: heartbeat.intervalMs,
      deadAfterMs: heartbeat.deadAfterMs,
      answerWithinMs: NODE_ANSWER_FACTOR * heartbeat.deadAfterMs,
      onHello: () => undefined,
      onOpen: (stream) => this.#unfinished.track(stream, this.#options.onStream(stream)),
      onClose: (error) => {
        this.#links.delete(mux);
        this.#past.in += mux.stats.bytesIn;
        this.#past.out += mux.stats.bytesOut;
        const durationMs = Math.round(performance.now() - beganAt);
        log.info({ event: 'node_link', durationMs, outcome: error?.code ?? 'closed' }, 'gateway disconnected');
      },
      onFailure: (error) => log.error({ err: error }, 'a handler of a gateway link failed'),
    });
    this.#links.add(mux);
    log.info({ event: 'node_link', links: this.#links.size }, 'gateway connected');
  }
}

/** /metrics describes the whole node, so it is served to local callers only, or through a local proxy. */
function isLocal(request: IncomingMessage): boolean {
  const address = request.socket.remoteAddress ?? '';
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.');
}

function refuse(socket: Duplex, error: ServiceError): void {
  const body = JSON.stringify({ error: error.toWire() });
  const head = [
    `HTTP/1.1 ${error.httpStatus} Refused`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  hangUp(socket, `${head.join('\r\n')}\r\n\r\n${body}`);
}
