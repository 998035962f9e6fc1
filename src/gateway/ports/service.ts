/** Connections to ports inside sandboxes, also where the network is off. */
import { withDeadline } from '../../lib/deadline.ts';
import type { Lifecycle } from '../lifecycle.ts';
import type { SandboxService } from '../sandboxes/service.ts';
import { PortStream } from './duplex.ts';

export interface PortServiceDeps {
  sandboxes: Pick<SandboxService, 'locate'>;
  lifecycle: Lifecycle;
}

const CONNECT_DEADLINE_MS = 15_000;

export class PortService {
  readonly #deps: PortServiceDeps;

  constructor(deps: PortServiceDeps) {
    this.#deps = deps;
  }

  /** A connected byte stream. @throws ServiceError `port_refused`, `sandbox_…`, `node_unavailable` */
  async connect(tenant: string, sandbox: string, port: number, signal?: AbortSignal): Promise<PortStream> {
    this.#deps.lifecycle.assertOpen();
    const node = await this.#deps.sandboxes.locate(tenant, sandbox, signal);
    const stream = new PortStream(node, { op: 'port', sandbox, port });
    // Until somebody listens, a failure is told by `connected`.
    stream.on('error', () => undefined);
    try {
      await withDeadline({ signal, deadlineMs: CONNECT_DEADLINE_MS, what: 'the connection' }, () => stream.connected);
    } catch (error) {
      stream.destroy();
      throw error;
    }
    return stream;
  }
}
