/** A long-running `ip -batch` in the uplink's network namespace. */
import { ServiceError } from '../../../../src/protocol/errors.ts';
import { Coprocess } from '../coprocess.ts';
import { inNetworkOf } from './tools.ts';

const DEADLINE_MS = 20_000;
/** Sent last: its one-line answer shows that the preceding commands are done. */
const LAST = 'link show dev lo';
/** Errors go to stdout too, so that they stay in order with the answers. */
const SCRIPT = 'exec ip -force -oneline -batch - 2>&1';

export class Ip {
  readonly #companion: Coprocess;

  constructor(uplinkPid: number | undefined) {
    this.#companion = new Coprocess({
      name: 'ip',
      command: [...inNetworkOf(uplinkPid), 'sh', '-c', SCRIPT],
      deadlineMs: DEADLINE_MS,
      isLast: (line) => /^\d+: lo: /.test(line),
    });
  }

  /**
   * Runs all commands in order, even if one fails.
   * @throws ServiceError `internal` with the message of `ip`, or as `Coprocess.request`.
   */
  async run(commands: readonly string[]): Promise<void> {
    const lines = await this.#companion.request([...commands, LAST].join('\n'));
    if (!lines.some((line) => line.startsWith('Command failed'))) return;
    const cause = new Error(lines.slice(0, -1).join('; ').slice(0, 500));
    throw new ServiceError('internal', 'the network of the sandbox cannot be set up: ip', { cause });
  }

  close(): void {
    this.#companion.close();
  }
}
