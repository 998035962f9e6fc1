import type { Command } from 'commander';
import { operator } from '../io/client.ts';
import { printJson, printTable } from '../io/print.ts';

const PULL_LIMIT_MS = 1_800_000;

/** `image ls` and `image pull`: what the nodes have. */
export function register(program: Command): void {
  const image = program.command('image').description('images on the nodes');

  image
    .command('ls')
    .description('list images, and the nodes that have them')
    .option('--json', 'one JSON array')
    .addHelpText('after', '\nExample:\n  millibox image ls')
    .action(async (options: { json?: boolean }, command: Command) => {
      const images = await operator(command).images();
      if (options.json) return printJson(images);
      printTable(
        ['IMAGE', 'NODES'],
        images.map((each) => [each.image, each.nodes.join(',')]),
      );
    });

  image
    .command('pull')
    .description('bring images to every node ahead of need')
    .argument('<image...>')
    .addHelpText('after', '\nExample:\n  millibox image pull python:3.12-slim node:24-slim')
    .action(async (refs: string[], _options: object, command: Command) => {
      const api = operator(command);
      for (const ref of refs) {
        for (const { node, ok, error } of await api.preload(ref, PULL_LIMIT_MS)) {
          const how = ok ? 'ready' : `${error?.message ?? 'failed'} (${error?.code ?? 'unknown'})`;
          process.stdout.write(`${ref}  ${node}  ${how}\n`);
          if (!ok) process.exitCode = 1;
        }
      }
    });
}
