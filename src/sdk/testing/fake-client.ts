/** A client of a `FakeGateway`, for tests of the SDK: its connection, and commands run through it. */
import { onTestFinished } from 'vitest';
import { Connection } from '../connection.ts';
import { Endpoints } from '../endpoints.ts';
import { ExecHandle } from '../exec/handle.ts';
import type { Command, Encoding, ExecOptions } from '../exec/options.ts';
import { HttpClient } from '../http.ts';
import { FakeGateway, type FakeProgram } from './fake-gateway.ts';

/** Nothing answers there. */
export const NOWHERE = new Endpoints(['http://127.0.0.1:1']);
const PATIENCE_MS = 20_000;

/** A client that is closed with the current test. */
export function fakeClient(program: FakeProgram, sandbox?: string | Promise<string>): FakeClient {
  const client = new FakeClient(program, sandbox);
  onTestFinished(() => client.close());
  return client;
}

export class FakeClient {
  readonly gateway: FakeGateway;
  readonly connection: Connection;
  readonly http = new HttpClient({ endpoints: NOWHERE, apiKey: undefined, userAgent: 'test' });
  readonly #sandbox: string | Promise<string>;

  constructor(program: FakeProgram, sandbox: string | Promise<string> = 'sbx-1') {
    this.gateway = new FakeGateway(program);
    this.connection = new Connection({ dial: this.gateway.dial, endpoints: NOWHERE, patienceMs: PATIENCE_MS });
    this.#sandbox = sandbox;
  }

  readonly exec = <E extends Encoding = 'utf8'>(command: Command, options: ExecOptions<E> = {}): ExecHandle<E> => {
    const { connection, http } = this;
    return new ExecHandle({ http, connection, sandbox: this.#sandbox, resumeMs: PATIENCE_MS }, command, options);
  };

  async close(): Promise<void> {
    this.connection.close();
    await this.http.close();
  }
}
