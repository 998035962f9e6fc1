import type { Command } from 'commander';
import { runPart } from '../up/run-part.ts';

export function define(command: Command): void {
  command
    .addHelpText(
      'after',
      `
Environment:
  MILLIBOX_LISTEN             host:port                            127.0.0.1:8700
  MILLIBOX_NODES              [name=]ws://host:port, by commas     ws://127.0.0.1:8701
  MILLIBOX_NODE_SECRET_FILE   what gateways and agents share
  MILLIBOX_API_KEY_FILE       the key of clients (MILLIBOX_API_KEYS_FILE for several)

Example:
  MILLIBOX_NODES=a=ws://10.0.0.1:8701,b=ws://10.0.0.2:8701 \\
  MILLIBOX_NODE_SECRET_FILE=/etc/millibox/node-secret MILLIBOX_API_KEY_FILE=/etc/millibox/api-key millibox gateway`,
    )
    .action(async () => {
      const { gatewayMain } = await import('../up/parts.ts');
      await runPart(gatewayMain());
    });
}
