/** An HTTP proxy in front of a gateway that records when each request arrived and when its answer was sent. */
import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RecordedRequest {
  method: string;
  /** With the query string. */
  path: string;
  /** `performance.now()` of this process when the request's headers had arrived. */
  beganAt: number;
  /** When the last byte of the answer was passed on; `Infinity` until then. */
  endedAt: number;
}

export class HttpRecorder implements AsyncDisposable {
  /** In order of arrival. */
  readonly requests: RecordedRequest[] = [];
  readonly #server: Server;
  readonly #target: URL;

  private constructor(target: URL) {
    this.#target = target;
    this.#server = createServer((request, response) => this.#relay(request, response));
  }

  static async start(target: string): Promise<HttpRecorder> {
    const recorder = new HttpRecorder(new URL(target));
    recorder.#server.listen(0, '127.0.0.1');
    await once(recorder.#server, 'listening');
    return recorder;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #relay(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url: path = '', headers } = request;
    const record: RecordedRequest = { method, path, beganAt: performance.now(), endedAt: Infinity };
    this.requests.push(record);
    response.on('finish', () => (record.endedAt = performance.now()));
    // The Host header is passed on unchanged: the gateway derives its data plane's name from it.
    const { hostname, port } = this.#target;
    const upstream = httpRequest({ hostname, port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.on('error', () => response.destroy());
      answer.pipe(response);
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
  }
}
