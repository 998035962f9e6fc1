/** The client: where everything begins. */
import { DETACHED_GRACE_MS } from '../protocol/limits.ts';
import { loadConfig } from './config.ts';
import { Connection, webSocketDial, type Dial } from './connection.ts';
import { Endpoints } from './endpoints.ts';
import { HttpClient } from './http.ts';
import { checkOptions, type OptionNames } from './known-options.ts';
import { Sandboxes } from './sandboxes.ts';

export interface MilliboxOptions {
  /**
   * Default: MILLIBOX_URL, or http://127.0.0.1:8700. Several with commas between are gateways of one service: one is
   * used, and when it goes away, another.
   */
  url?: string | undefined;
  /** The same as a list. */
  urls?: readonly string[] | undefined;
  /** Default: MILLIBOX_API_KEY. */
  apiKey?: string | undefined;
  /** How long a command is looked for after the way to it was cut. The service keeps it a minute by default. */
  resumeMs?: number | undefined;
  /**
   * How long a service that cannot be reached is tried again. Default: 30 s; 2 s for one that has never answered this
   * client, when nothing listens on this machine or the host has no address.
   */
  patienceMs?: number | undefined;
  /** How frames reach the gateway: for tests, and for networks of your own. */
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

/** One for a process is enough: everything shares its connections. */
export class Millibox implements AsyncDisposable {
  /** The gateway that it begins with. */
  readonly url: string;
  readonly sandboxes: Sandboxes;
  readonly #http: HttpClient;
  readonly #connection: Connection;

  /** Does nothing on the network. @throws TypeError when the URL is not one of HTTP, ServiceError `invalid_request`. */
  constructor(options: MilliboxOptions = {}) {
    checkOptions('new Millibox', options, CLIENT_OPTIONS);
    const config = loadConfig(options);
    const endpoints = new Endpoints(config.urls);
    this.url = endpoints.current;
    const { patienceMs } = options;
    this.#http = new HttpClient({ ...config, endpoints, patienceMs });
    this.#connection = new Connection({
      dial: options.dial ?? webSocketDial(this.#http.headers),
      endpoints,
      patienceMs,
    });
    this.sandboxes = new Sandboxes({
      http: this.#http,
      connection: this.#connection,
      resumeMs: options.resumeMs ?? DETACHED_GRACE_MS,
    });
  }

  /** Ends all connections. Commands under way end with `cancelled` here and go on there for a while. */
  async close(): Promise<void> {
    this.#connection.close();
    await this.#http.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
