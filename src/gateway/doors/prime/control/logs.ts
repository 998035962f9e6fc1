/** The logs of a sandbox: what its start command has written, the last of it. */
import { ServiceError } from '../../../../protocol/errors.ts';
import { START_COMMAND_ID } from '../../../../protocol/node.ts';
import type { Services } from '../../../services.ts';

const MAX_LOG_BYTES = 512 * 1024;

/** Empty when nothing was started. @throws ServiceError `sandbox_…` */
export async function readLogs({ execs }: Services, tenant: string, id: string): Promise<string> {
  const read = async (channel: 'stdout' | 'stderr'): Promise<string> => {
    const window = { channel, offset: -MAX_LOG_BYTES, length: MAX_LOG_BYTES };
    return (await execs.output(tenant, id, START_COMMAND_ID, window)).bytes.toString('utf8');
  };
  try {
    // One after the other: each reads by attaching, and only one can be attached.
    return (await read('stdout')) + (await read('stderr'));
  } catch (thrown) {
    if (ServiceError.from(thrown).code === 'exec_not_found') return '';
    throw thrown;
  }
}
