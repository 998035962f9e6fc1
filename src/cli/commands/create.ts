import type { Command } from 'commander';
import { MAX_CREATE_COUNT } from '../../protocol/limits.ts';
import type { CreateOptions, NewSandbox } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';
import { allOrNone } from '../io/creation.ts';
import { between, duration, integer, label, megabytes, positive, whole } from '../io/parse.ts';
import { printJson } from '../io/print.ts';
import { awaitEndSignal } from '../io/signals.ts';
import { envPair, filePair } from '../io/variables.ts';

interface Options {
  name?: string;
  cpus?: number;
  memory?: number;
  disk?: number;
  pids?: number;
  network: 'off' | 'internet';
  env?: Record<string, string>;
  secret?: Record<string, string>;
  secretFile?: Record<string, string>;
  label?: Record<string, string>;
  startCommand?: string;
  timeout?: number;
  idleTimeout?: number;
  priority?: number;
  count?: number;
  wait: boolean;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument('[image]', "image reference; the server's default if omitted")
    .option('--name <name>', 'a name for people; need not be unique')
    .option('--cpus <number>', 'CPUs it may use (default: 1)', positive)
    .option('--memory <size>', 'such as 512m or 2g; a bare number is in MB (default: 512m)', megabytes)
    .option('--disk <size>', 'such as 512m or 2g (default: no limit of its own)', megabytes)
    .option('--pids <number>', 'maximum number of processes (default: 512)', whole)
    .option('--network <network>', 'off or internet', 'off')
    .option(
      '--env <name[=value]>',
      'set for every command; NAME alone copies the value from your environment; may be repeated',
      envPair,
    )
    .option(
      '--secret <name>',
      "like --env, but never returned by the service. NAME=VALUE works too, but is visible in this machine's process list",
      envPair,
    )
    .option('--secret-file <name=path>', 'a secret whose value is in a file; both may be repeated', filePair)
    .option('--label <name=value>', 'label to find it by; the first = ends the name; may be repeated', label)
    .option('--start-command <command>', 'run in the background once the sandbox is up')
    .option(
      '--timeout <duration>',
      'lifetime, such as 10m or 2h; a bare number is in seconds (default: 1h, at most 7d)',
      duration,
    )
    .option('--idle-timeout <duration>', 'end it after this long without a call (default: never)', duration)
    .option('--priority <number>', 'among your waiting sandboxes, the highest starts first (default: 0)', integer)
    .option(
      '--count <number>',
      'create this many in one call, all or none; prints one id per line; up to 1000',
      between(1, MAX_CREATE_COUNT),
    )
    .option('--no-wait', 'do not wait until it runs')
    .option('--json', 'print the whole sandbox as JSON')
    .addHelpText(
      'after',
      `
Prints the id once the sandbox runs. A create that fails, or that Ctrl-C ends, leaves no sandbox behind.

Examples:
  millibox create
  millibox create python:3.12-slim --memory 1g --timeout 2h --label job=42
  API_TOKEN=… millibox create --secret API_TOKEN --secret-file SSH_KEY=$HOME/.ssh/bot
  millibox create --count 100 --label run=7
  SB=$(millibox create) && millibox exec $SB -- python3 -c 'print(6 * 7)'`,
    )
    .action(async (image: string | undefined, options: Options) => {
      using ended = awaitEndSignal();
      await using client = await connect(command);
      const wanted: CreateOptions = {
        ...(image === undefined ? {} : { image }),
        ...(options.name === undefined ? {} : { name: options.name }),
        ...(options.cpus === undefined ? {} : { cpus: options.cpus }),
        ...(options.memory === undefined ? {} : { memoryMb: options.memory }),
        ...(options.disk === undefined ? {} : { diskMb: options.disk }),
        ...(options.pids === undefined ? {} : { pidsLimit: options.pids }),
        network: options.network,
        ...(options.env === undefined ? {} : { env: options.env }),
        ...secretsOf(options),
        ...(options.label === undefined ? {} : { labels: options.label }),
        ...(options.startCommand === undefined ? {} : { startCommand: options.startCommand }),
        ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
        ...(options.idleTimeout === undefined ? {} : { idleTimeoutMs: options.idleTimeout }),
        ...(options.priority === undefined ? {} : { priority: options.priority }),
      };
      const ask = (signal: AbortSignal): NewSandbox[] => {
        const { sandboxes } = client;
        const call = { ...wanted, signal };
        return options.count === undefined ? [sandboxes.create(call)] : sandboxes.createMany(options.count, call);
      };
      const created = await allOrNone({ client, ask, wait: options.wait, ended: ended.signal });
      if (options.json) printJson(options.count === undefined ? created[0] : created);
      else for (const { id } of created) process.stdout.write(`${id}\n`);
    });
}

function secretsOf({ secret, secretFile }: Options): Pick<CreateOptions, 'secrets'> {
  return secret === undefined && secretFile === undefined ? {} : { secrets: { ...secret, ...secretFile } };
}
