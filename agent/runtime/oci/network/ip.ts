/** `ip`, running for as long as there are cables to lay, in the network namespace of the uplink. */
import { ServiceError } from '../../../../src/protocol/errors.ts';
import { Coprocess } from '../coprocess.ts';
import { inNetworkOf } from './tools.ts';

const DEADLINE_MS = 20_000;
/** Asked behind everything else: its answer is one line, and says that what came before is over. */
const LAST = 'link show dev lo';
/** With the errors among the answers, so that they come in the order in which they happened. */
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
   * All of them in order, each whether or not the one before it could be done.
   * @throws ServiceError `internal` with the words of `ip`, or as `Coprocess.ask`.
   */
  async run(commands: readonly string[]): Promise<void> {
    const lines = await this.#companion.ask([...commands, LAST].join('\n'));
    if (!lines.some((line) => line.startsWith('Command failed'))) return;
    const cause = new Error(lines.slice(0, -1).join('; ').slice(0, 500));
    throw new ServiceError('internal', 'the network of the sandbox cannot be set up: ip', { cause });
  }

  close(): void {
    this.#companion.close();
  }
}
