#!/usr/bin/env node
/** `millibox`: one program for who uses sandboxes and for who runs the service. */
import { Command } from 'commander';
import { register as registerAgent } from './commands/agent.ts';
import { register as registerBench } from './commands/bench.ts';
import { register as registerCp } from './commands/cp.ts';
import { register as registerCreate } from './commands/create.ts';
import { register as registerExec } from './commands/exec.ts';
import { register as registerGateway } from './commands/gateway.ts';
import { register as registerImage } from './commands/image.ts';
import { register as registerJobs } from './commands/jobs.ts';
import { register as registerLs } from './commands/ls.ts';
import { register as registerNode } from './commands/node.ts';
import { register as registerRm } from './commands/rm.ts';
import { register as registerShell } from './commands/shell.ts';
import { register as registerUp } from './commands/up.ts';
import { reportFailure } from './io/failure.ts';

const program = new Command('millibox')
  .description('Self-hosted sandboxes for code that nobody trusts yet.')
  .option(
    '--url <url>',
    'address of the gateway, or several by commas (MILLIBOX_URL; default: what runs on this machine)',
  )
  .option('--api-key <key>', 'better: MILLIBOX_API_KEY, which no process list shows')
  .showHelpAfterError('(try: millibox help COMMAND)')
  .enablePositionalOptions();

for (const register of [
  registerUp,
  registerGateway,
  registerAgent,
  registerCreate,
  registerExec,
  registerShell,
  registerCp,
  registerLs,
  registerRm,
  registerJobs,
  registerImage,
  registerNode,
  registerBench,
]) {
  register(program);
}

program.parseAsync().catch(reportFailure);
