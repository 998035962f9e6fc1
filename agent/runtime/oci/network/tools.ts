/** Runs networking tools in the network namespace of a process. */
import { ServiceError } from '../../../../src/protocol/errors.ts';
import { runTool, ToolError } from '../../../run-tool.ts';

const DEADLINE_MS = 20_000;

/** The prefix of a command; empty for `undefined`, the agent's own namespace. */
export const inNetworkOf = (pid: number | undefined): string[] =>
  pid === undefined ? [] : ['nsenter', `--net=/proc/${pid}/ns/net`];

/**
 * Prints the iptables variants in use. The kernel keeps legacy iptables rules apart from nftables, and the program
 * called `iptables` need not be the variant Docker uses. Legacy iptables is only queried if it is already in use, since
 * a query would load it.
 */
export const IPTABLES = `
  for each in iptables-nft iptables; do command -v $each && break; done
  ! grep -qsx filter /proc/self/net/ip_tables_names || command -v iptables-legacy || true`;

/** @throws ServiceError `internal`, with the tool's output as its cause; `deadline_exceeded`. */
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
