/** The commands of `millibox`. Only the one that runs is loaded, because its imports take time. */
import type { Command } from 'commander';

interface Entry {
  name: string;
  about: string;
  load(): Promise<{ define(command: Command): void }>;
}

const CATALOG: readonly Entry[] = [
  {
    name: 'up',
    about: 'run gateway and agent on this machine until interrupted',
    load: () => import('./commands/up.ts'),
  },
  {
    name: 'gateway',
    about: 'run a gateway in the foreground, configured by its environment',
    load: () => import('./commands/gateway.ts'),
  },
  {
    name: 'agent',
    about: "run this node's agent in the foreground, configured by its environment",
    load: () => import('./commands/agent.ts'),
  },
  { name: 'create', about: 'create a sandbox and print its id', load: () => import('./commands/create.ts') },
  {
    name: 'exec',
    about: 'run a command in a sandbox; stdin, stdout, stderr and the exit code pass through',
    load: () => import('./commands/exec.ts'),
  },
  {
    name: 'shell',
    about: 'a terminal in a sandbox; Ctrl-P Ctrl-Q leaves it running',
    load: () => import('./commands/shell.ts'),
  },
  {
    name: 'cp',
    about: 'copy a file or a directory into a sandbox, or out of one',
    load: () => import('./commands/cp.ts'),
  },
  { name: 'ls', about: 'list sandboxes', load: () => import('./commands/ls.ts') },
  { name: 'rm', about: 'delete sandboxes', load: () => import('./commands/rm.ts') },
  {
    name: 'jobs',
    about: 'list background commands of a sandbox, ended ones included, and others that still run',
    load: () => import('./commands/jobs.ts'),
  },
  { name: 'logs', about: 'print what a command has written so far', load: () => import('./commands/logs.ts') },
  {
    name: 'kill',
    about: 'send a signal to a command and to everything it started',
    load: () => import('./commands/kill.ts'),
  },
  { name: 'image', about: 'images on the nodes', load: () => import('./commands/image.ts') },
  { name: 'node', about: 'the machines that sandboxes run on', load: () => import('./commands/node.ts') },
  {
    name: 'bench',
    about: 'measure: exec, create, burst, density, images, stream, prime, load, scale, cluster',
    load: () => import('./commands/bench.ts'),
  },
];

/** Registers all commands, and loads the one that the arguments run or ask for help with. */
export async function addCommands(program: Command, words: readonly string[]): Promise<void> {
  const commands = CATALOG.map((entry) => ({ entry, command: addCommand(program, entry) }));
  const [first, second] = program.parseOptions([...words]).operands;
  const name = first === 'help' ? second : first;
  const wanted = commands.find(({ entry }) => entry.name === name);
  if (wanted !== undefined) (await wanted.entry.load()).define(wanted.command);
  // `help` itself reports no error for an unknown name.
  else if (name !== undefined) program.parse([name], { from: 'user' });
}

function addCommand(program: Command, { name, about }: Entry): Command {
  return program
    .command(name)
    .description(about)
    .showHelpAfterError(`(see: millibox ${name} --help)`)
    .configureOutput({ outputError: (text, write) => write(moveForward(text, name)) });
}

/** A global option is not an option of a command: the error says where it belongs. */
function moveForward(error: string, name: string): string {
  const [, option] = /^error: unknown option '(--url|--api-key)\b/.exec(error) ?? [];
  return option === undefined ? error : `error: ${option} goes before the command: millibox ${option} … ${name}\n`;
}
