/** Programs that set up networks, run in the network namespace of a process. */
import { ServiceError } from '../../../../src/protocol/errors.ts';
import { runTool, ToolError } from '../../../images/run-tool.ts';

const DEADLINE_MS = 20_000;

/** What goes in front of a command; undefined: nothing, since it is our own namespace. */
export const inNetworkOf = (pid: number | undefined): string[] =>
  pid === undefined ? [] : ['nsenter', `--net=/proc/${pid}/ns/net`];

/**
 * Prints the programs by which rules of iptables are seen: the kernel keeps those of before nftables apart from the others,
 * and which of them Docker uses is not told by what is called `iptables`. The old ones are asked only where they are in
 * use, since the question would bring them into use.
 */
export const IPTABLES = `
  for each in iptables-nft iptables; do command -v $each && break; done
  ! grep -qsx filter /proc/self/net/ip_tables_names || command -v iptables-legacy || true`;

/** @throws ServiceError `internal`, with the tool's own words as its cause; `deadline_exceeded`. */
export async function runInNetworkOf(
  pid: number | undefined,
  command: readonly [tool: string, ...args: string[]],
  input = '',
): Promise<void> {
  const [program = '', ...args] = [...inNetworkOf(pid), ...command];
  try {
    await runTool(program, args, { deadlineMs: DEADLINE_MS, input });
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw new ServiceError('internal', `the network of the sandbox cannot be set up: ${command[0]}`, { cause: error });
  }
}
