/** A model of an API server behind TLS on a loopback port, which requires a token or a client certificate. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { KubeModel } from '../../../src/gateway/discovery/testing/kube-model.ts';
import { hostPort } from '../../../src/lib/host-port.ts';
import { makeCertificates } from './certificates.ts';
import { writeKubeconfig } from './kubeconfig.ts';

const TOKEN = 'token-of-the-test';

export class ApiServer implements AsyncDisposable {
  readonly model = new KubeModel();
  /** The files that a gateway has in its pod. */
  readonly dir: string;
  /** Drops everything sent, and answers nothing: the connections look alive. */
  deaf = false;
  /** Connection attempts, including failed ones. */
  attempts = 0;
  readonly #sockets = new Set<Socket>();
  #server: Http2SecureServer | null = null;
  #port = 0;
  #host = '127.0.0.1';

  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'kube-'));
  }

  static async start({ host = '127.0.0.1' } = {}): Promise<ApiServer> {
    const server = new ApiServer();
    server.#host = host;
    try {
      makeCertificates(server.dir, '/O=millibox/CN=gateway');
      await server.up();
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  get url(): string {
    return `https://${hostPort(this.#host, this.#port)}`;
  }

  /** A kubeconfig that authenticates by a token in a file, or by a certificate. */
  kubeconfig(by: 'token' | 'certificate'): string {
    writeFileSync(join(this.dir, 'token'), TOKEN);
    return writeKubeconfig({ dir: this.dir, server: this.url, by, namespace: 'sandboxes' });
  }

  async up(): Promise<void> {
    const read = (name: string): Buffer => readFileSync(join(this.dir, name));
    this.#server = createSecureServer(
      {
        allowHTTP1: true,
        key: read('server.key'),
        cert: read('server.crt'),
        ca: read('ca.crt'),
        requestCert: true,
        rejectUnauthorized: false,
      },
      (request, response) => this.#answer(request, response),
    );
    this.#server.on('connection', (socket: Socket) => {
      this.attempts += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
    });
    this.#server.on('sessionError', () => undefined);
    this.#server.listen(this.#port, this.#host);
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** As if its machine was switched off: connections break and none is accepted. It returns on the same port. */
  async down(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    const closed = once(server, 'close');
    server.close();
    this.cut();
    await closed;
  }

  /** Breaks all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Its CA certificate. */
  get ca(): Buffer {
    return readFileSync(join(this.dir, 'ca.crt'));
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #answer(request: Http2ServerRequest, response: Http2ServerResponse): void {
    if (this.deaf) return;
    response.on('error', () => undefined);
    const url = new URL(request.url, this.url);
    if (!isKnown(request)) {
      response.writeHead(401, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ kind: 'Status', code: 401, message: 'Unauthorized' }));
      return;
    }
    const { status, headers, body, watch } = this.model.request(url.pathname, Object.fromEntries(url.searchParams));
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    if (watch === null) {
      response.end(body);
      return;
    }
    response.on('close', () => this.model.watches.delete(watch));
    // Works with both protocols, though only one is typed.
    (response as unknown as ServerResponse).flushHeaders();
    watch.listen((text) => {
      if (this.deaf) return;
      if (text === null) response.end();
      else inPieces(text, (piece) => void response.write(piece));
    });
  }
}

/** Events arrive as the network splits them, not one by one. */
function inPieces(text: string, write: (piece: Buffer) => void): void {
  const bytes = Buffer.from(text);
  const middle = Math.floor(bytes.length / 2);
  write(bytes.subarray(0, middle));
  write(bytes.subarray(middle));
}

function isKnown(request: Http2ServerRequest): boolean {
  if (request.headers.authorization === `Bearer ${TOKEN}`) return true;
  return (request.socket as TLSSocket).authorized;
}
