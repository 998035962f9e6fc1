/** Connections to ports inside sandboxes, even when their network is off. */
import { withDeadline } from '../../lib/deadline.ts';
import type { Lifecycle } from '../lifecycle.ts';
import type { SandboxService } from '../sandboxes/service.ts';
import { PortStream } from './duplex.ts';
import { PortTokens } from './tokens.ts';

export interface PortServiceDeps {
  sandboxes: Pick<SandboxService, 'locate'>;
  lifecycle: Lifecycle;
  /** Shared by all gateways; tokens are derived from it. */
  secret: string;
  /** Preview domain, under which every port has a host name of its own. Null: there is none. */
  domain: string | null;
  /** The clock that all gateways share. */
  now: () => number;
}

const CONNECT_DEADLINE_MS = 15_000;

export class PortService {
  readonly tokens: PortTokens;
  readonly domain: string | null;
  readonly #deps: PortServiceDeps;
  readonly #open = new Set<PortStream>();

  constructor(deps: PortServiceDeps) {
    this.#deps = deps;
    this.tokens = new PortTokens(deps.secret, deps.now);
    this.domain = deps.domain;
  }

  /** A connected byte stream. @throws ServiceError `port_refused`, `sandbox_…`, `node_unavailable` */
  async connect(tenant: string, sandbox: string, port: number, signal?: AbortSignal): Promise<PortStream> {
    this.#deps.lifecycle.assertOpen();
    const node = await this.#deps.sandboxes.locate(tenant, sandbox, signal);
    const stream = new PortStream(node, { op: 'port', sandbox, port });
    // Until the caller listens, failures are reported by `connected`.
    stream.on('error', () => undefined);
    this.#open.add(stream);
    stream.once('close', () => this.#open.delete(stream));
    try {
      await withDeadline({ signal, deadlineMs: CONNECT_DEADLINE_MS, what: 'the connection' }, () => stream.connected);
    } catch (error) {
      stream.destroy();
      throw error;
    }
    return stream;
  }

  /** Ends every connection: an upgraded one would keep the server open for as long as its client likes. */
  close(): void {
    for (const stream of this.#open) stream.destroy();
  }
}
