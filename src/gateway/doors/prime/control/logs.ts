/** The logs of a sandbox: the last output of its start command. */
import { ServiceError } from '../../../../protocol/errors.ts';
import { START_COMMAND_ID } from '../../../../protocol/node.ts';
import type { Services } from '../../../services.ts';

const MAX_LOG_BYTES = 512 * 1024;

/** Empty without a start command. @throws ServiceError `sandbox_…` */
export async function readLogs({ execs }: Services, tenant: string, id: string): Promise<string> {
  const read = async (channel: 'stdout' | 'stderr'): Promise<string> => {
    const window = { channel, offset: -MAX_LOG_BYTES, length: MAX_LOG_BYTES };
    return (await execs.output(tenant, id, START_COMMAND_ID, window)).bytes.toString('utf8');
  };
  try {
    // Sequentially: reading attaches to the command, and only one reader can be attached at a time.
    return (await read('stdout')) + (await read('stderr'));
  } catch (thrown) {
    if (ServiceError.from(thrown).code === 'exec_not_found') return '';
    throw thrown;
  }
}
