import { Option, type Command } from 'commander';
import { orAbort } from '../../lib/deadline.ts';
import { GATEWAY_PORT } from '../../protocol/client.ts';
import { home as defaultHome, variable } from '../config.ts';
import { between, whole } from '../io/parse.ts';
import { printJson, printable } from '../io/print.ts';
import type { Stack } from '../up/stack.ts';

/** Each is a separate process; more than a few are only for tests. */
const MAX_AGENTS = 100;
/** The agent's runtimes that run containers. */
const RUNTIMES = ['auto', 'docker', 'oci', 'gvisor'];

interface UpOptions {
  host: string;
  port: number;
  home?: string;
  agents: number;
  runtime?: string;
  image?: string;
  pool?: number;
  demo?: boolean;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .option('--host <address>', 'where the gateway listens', '127.0.0.1')
    .option('--port <port>', '0: any free one', between(0, 65_535), GATEWAY_PORT)
    .option('--home <directory>', 'keys, records and logs (MILLIBOX_HOME)')
    .option('--agents <number>', 'agents on this machine', between(1, MAX_AGENTS), 1)
    .addOption(new Option('--runtime <runtime>', 'what runs the containers').choices(RUNTIMES))
    .option('--image <image>', 'image of sandboxes that name none')
    .option('--pool <number>', 'containers kept warm', whole)
    .option('--demo', 'create a sandbox first, and show how it went')
    .option('--json', 'one JSON line once it is up')
    .addHelpText(
      'after',
      `
Examples:
  millibox up
  millibox up --port 0 --json --home /tmp/mine --pool 20`,
    )
    .action(async (options: UpOptions) => {
      if (options.image !== undefined) await checkImage(command, options.image);
      const say = (line: string): void => void process.stderr.write(`    ${line}\n`);
      const interrupt = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
        process.on(signal, () => interrupt.abort(new Interrupted()));
      }
      const { signal } = interrupt;
      try {
        const { Stack } = await import('../up/stack.ts');
        const stack = await Stack.start({ ...options, home: options.home ?? defaultHome(), say, signal });
        try {
          if (options.demo) {
            const { runDemo } = await import('../up/demo.ts');
            await orAbort(signal, runDemo(stack));
          }
          if (options.json) await announce(stack);
          else await greet(stack);
          await orAbort(signal, new Promise<never>(() => undefined));
        } finally {
          say('stopping: calls in progress have a few seconds, then sandboxes are removed');
          await stack.stop();
        }
      } catch (error) {
        if (!(error instanceof Interrupted)) throw error;
      }
      process.exit(0);
    });
}

/** Checked here rather than at the first create: an image is named when a service is started, and needed much later. */
async function checkImage(command: Command, image: string): Promise<void> {
  const { ImageRef } = await import('../../protocol/sandbox.ts');
  if (!ImageRef.safeParse(image).success) {
    command.error(
      `error: option '--image <image>': ${printable(image)} is not an image reference, such as python:3.12-slim`,
    );
  }
}

/** A signal asked us to stop. */
class Interrupted extends Error {}

async function greet(stack: Stack): Promise<void> {
  const { welcome } = await import('../up/welcome.ts');
  process.stdout.write(welcome(stack, variable('PATH') ?? ''));
}

async function announce(stack: Stack): Promise<void> {
  const { runtime } = await stack.node();
  printJson({
    url: stack.url,
    apiKey: stack.apiKey,
    home: stack.home,
    runtime,
    image: stack.image,
    pids: { gateway: stack.gateway.pid, agents: stack.agents.map((agent) => agent.pid) },
  });
}
