import type { Command } from 'commander';
import { runPart } from '../up/run-part.ts';

export function define(command: Command): void {
  command
    .addHelpText(
      'after',
      `
Environment:
  MILLIBOX_NODE_NAME          name of this node                    the host's name
  MILLIBOX_AGENT_LISTEN       host:port                            127.0.0.1:8701
  MILLIBOX_NODE_SECRET_FILE   what gateways and agents share
  MILLIBOX_RUNTIME            auto, docker, oci or gvisor          auto
  MILLIBOX_DATA_DIR           records and sockets                  /var/lib/millibox/agent
  MILLIBOX_POOL_MIN, _MAX     containers kept warm                 4, 64

Example:
  MILLIBOX_AGENT_LISTEN=0.0.0.0:8701 MILLIBOX_NODE_SECRET_FILE=/etc/millibox/node-secret millibox agent`,
    )
    .action(async () => {
      const { agentMain, boxinitPath } = await import('../up/parts.ts');
      await runPart(agentMain(), { MILLIBOX_BOXINIT: boxinitPath() });
    });
}
