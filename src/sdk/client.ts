/** The client, the entry point of the SDK. */
import { DETACHED_GRACE_MS } from '../protocol/limits.ts';
import { callStreams } from './call-streams.ts';
import { loadConfig } from './config.ts';
import { Creates } from './creates.ts';
import { Connection, webSocketDial, type Dial } from './connection.ts';
import { Endpoints } from './endpoints.ts';
import { HttpClient } from './http.ts';
import { checkOptions, type OptionNames } from './known-options.ts';
import { Sandboxes } from './sandboxes.ts';

export interface MilliboxOptions {
  /**
   * Default: MILLIBOX_URL, or http://127.0.0.1:8700. Several gateways of one service are separated by commas: one is
   * used, and when it goes away, another.
   */
  url?: string | undefined;
  /** The same as a list. */
  urls?: readonly string[] | undefined;
  /** Default: MILLIBOX_API_KEY. */
  apiKey?: string | undefined;
  /**
   * How long to try to reattach to a command after its connection was cut. The service keeps it for a minute by
   * default.
   */
  resumeMs?: number | undefined;
  /**
   * How long to retry when the service cannot be reached. Default: 30 s; 2 s for a service that has never answered this
   * client, when nothing listens on this machine or the host name is unknown.
   */
  patienceMs?: number | undefined;
  /** How frames reach the gateway: for tests and custom networks. */
  dial?: Dial | undefined;
}

const CLIENT_OPTIONS: OptionNames<MilliboxOptions> = {
  url: true,
  urls: true,
  apiKey: true,
  resumeMs: true,
  patienceMs: true,
  dial: true,
};

/** One per process is enough: everything shares its connections. */
export class Millibox implements AsyncDisposable {
  /** The gateway that it starts with. */
  readonly url: string;
  readonly sandboxes: Sandboxes;
  readonly #http: HttpClient;
  readonly #creates: Creates;
  readonly #connection: Connection;

  /** Does not touch the network. @throws TypeError for a URL that is not http(s), ServiceError `invalid_request`. */
  constructor(options: MilliboxOptions = {}) {
    checkOptions('new Millibox', options, CLIENT_OPTIONS);
    const config = loadConfig(options);
    const endpoints = new Endpoints(config.urls);
    this.url = endpoints.current;
    const { patienceMs } = options;
    const plain = { ...config, endpoints, patienceMs };
    const undoing = new HttpClient(plain);
    this.#connection = new Connection({
      dial: options.dial ?? webSocketDial(undoing.headers),
      endpoints,
      patienceMs,
    });
    this.#http = new HttpClient({ ...plain, streams: callStreams(this.#connection) });
    this.#creates = new Creates({ http: this.#http, undoing });
    const resumeMs = options.resumeMs ?? DETACHED_GRACE_MS;
    this.sandboxes = new Sandboxes({ http: this.#http, connection: this.#connection, resumeMs }, this.#creates);
  }

  /**
   * Closes all connections. Handles of running commands end with `cancelled`; the commands themselves run on for a
   * while. Sandboxes whose create is in flight are deleted, waiting up to five seconds for that.
   */
  async close(): Promise<void> {
    this.#connection.close();
    await this.#http.close();
    await this.#creates.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
