import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Command } from 'commander';
import { ServiceError } from '../../protocol/errors.ts';
import { operate } from '../io/client.ts';
import { forEach } from '../io/each.ts';
import { printJson, printTable } from '../io/print.ts';

const LIMIT_MS = 3_600_000;

/** `image ls`, `pull`, `rm` and `import`: the images on the nodes. */
export function define(image: Command): void {
  image.addHelpText('after', '\nExample:\n  millibox image pull python:3.12-slim && millibox image ls');
  image
    .command('ls')
    .description('list images, and the nodes that have them')
    .option('--json', 'one JSON array')
    .addHelpText('after', '\nExample:\n  millibox image ls')
    .action(async (options: { json?: boolean }, command: Command) => {
      const images = await (await operate(command)).images();
      if (options.json) return printJson(images);
      printTable(
        ['IMAGE', 'NODES'],
        images.map((each) => [each.image, each.nodes.join(',')]),
      );
    });

  image
    .command('pull')
    .description(
      'pull images onto every node ahead of need, or again where a tag has moved; running sandboxes keep theirs',
    )
    .argument('<image...>')
    .addHelpText('after', '\nExample:\n  millibox image pull python:3.12-slim node:24-slim')
    .action(async (refs: string[], _options: object, command: Command) => {
      const api = await operate(command);
      await forEach(refs, async (ref) => report(ref, await api.preload(ref, LIMIT_MS), 'ready'));
    });

  image
    .command('rm')
    .description('remove images from every node; those in use by sandboxes stay')
    .argument('<image...>')
    .addHelpText('after', '\nExample:\n  millibox image rm python:3.11')
    .action(async (refs: string[], _options: object, command: Command) => {
      const api = await operate(command);
      await forEach(refs, async (ref) => report(ref, await api.removeImage(ref, LIMIT_MS), 'removed'));
    });

  image
    .command('import')
    .description('import an image from a file: from docker save, an OCI archive, or the tar of a root file system')
    .argument('<file>')
    .argument('<image>', 'the name by which sandboxes request it')
    .option('--node <name...>', 'only these nodes')
    .addHelpText('after', '\nExample:\n  docker save my/app:1 -o app.tar && millibox image import app.tar my/app:1')
    .action(async (file: string, ref: string, options: { node?: string[] }, command: Command) => {
      const api = await operate(command);
      const nodes = options.node ?? (await api.nodes()).map(({ name }) => name);
      for (const node of nodes) {
        const work = archiveIn(file).then((archive) => api.importImage(ref, node, archive, LIMIT_MS));
        const outcome = await work.then(
          () => ({ node, ok: true, error: null }),
          (error: unknown) => ({ node, ok: false, error: ServiceError.from(error) }),
        );
        report(ref, [outcome], 'ready');
      }
    });
}

/** @throws ServiceError `invalid_request`: a path that cannot be read is the user's mistake, not the gateway's. */
async function archiveIn(path: string): Promise<Readable> {
  try {
    const file = await open(path);
    if (!(await file.stat()).isDirectory()) return file.createReadStream();
    await file.close();
  } catch (error) {
    throw new ServiceError('invalid_request', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  throw new ServiceError('invalid_request', `${path} is a directory: a tar file is expected`);
}

interface Outcome {
  node: string;
  ok: boolean;
  error: { code: string; message: string } | null;
  changed?: boolean | null | undefined;
}

/** One line per node. The command fails if one of them did. */
function report(ref: string, outcomes: readonly Outcome[], done: string): void {
  for (const { node, ok, error, changed } of outcomes) {
    const how = ok
      ? changed === false
        ? 'up to date'
        : done
      : `${error?.message ?? 'failed'} (${error?.code ?? 'unknown'})`;
    process.stdout.write(`${ref}  ${node}  ${how}\n`);
    if (!ok) process.exitCode = 1;
  }
}
