/** `millibox`: one program for users of sandboxes and operators of the service. */
import { Command } from 'commander';
import { packageVersion } from '../lib/own-package.ts';
import { addCommands } from './catalog.ts';
import { reportFailure } from './io/failure.ts';
import { flushed, tolerateBrokenPipes } from './io/pump.ts';

const program = new Command('millibox')
  .description('Self-hosted sandboxes for untrusted code.')
  .version(packageVersion())
  .option(
    '--url <url>',
    'address of the gateway, or several separated by commas (MILLIBOX_URL; default: what runs on this machine)',
  )
  .option('--api-key <key>', 'API key; prefer MILLIBOX_API_KEY, which does not show in process lists')
  .addHelpText(
    'after',
    `
Exit codes:
  0    done
  1    wrong usage, a local error, or some of several items failed
  255  the service failed, refused or cannot be reached
exec, shell and logs -f exit with the code of their command, and with 255 for every failure of their own.

Examples:
  millibox up
  SB=$(millibox create) && millibox exec $SB -- python3 -c 'print(6 * 7)'
  millibox --url http://10.0.0.1:8700 ls`,
  )
  .showHelpAfterError('(see: millibox --help)')
  .enablePositionalOptions();

tolerateBrokenPipes();
addCommands(program, process.argv.slice(2))
  .then(() => program.parseAsync())
  .then(flushed)
  .catch(reportFailure);
