/** `millibox`: one program for those who use sandboxes and those who run the service. */
import { Command } from 'commander';
import { packageVersion } from '../lib/version.ts';
import { addCommands } from './catalog.ts';
import { reportFailure } from './io/failure.ts';
import { flushed, tolerateBrokenPipes } from './io/pump.ts';

const program = new Command('millibox')
  .description('Self-hosted sandboxes for code that nobody trusts yet.')
  .version(packageVersion())
  .option(
    '--url <url>',
    'address of the gateway, or several by commas (MILLIBOX_URL; default: what runs on this machine)',
  )
  .option('--api-key <key>', 'better: MILLIBOX_API_KEY, which no process list shows')
  .showHelpAfterError('(see: millibox --help)')
  .enablePositionalOptions();

tolerateBrokenPipes();
addCommands(program, process.argv.slice(2))
  .then(() => program.parseAsync())
  .then(flushed)
  .catch(reportFailure);
