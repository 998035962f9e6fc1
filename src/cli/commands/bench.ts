import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../../lib/own-package.ts';

/** The benchmarks live beside the sources, and are not part of an installed package. */
export function define(command: Command): void {
  command
    .argument('[arguments...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .addHelpText('after', '\nExamples:\n  millibox bench exec\n  millibox bench burst --n 500\n  millibox bench --help')
    .action(async (words: string[]) => {
      const root = packageRoot();
      const main = join(root, 'bench/main.ts');
      if (!existsSync(main)) command.error('error: the bench is part of the repository, not of the installed package');
      const child = spawn(process.execPath, [main, ...words], { cwd: root, stdio: 'inherit' });
      process.exitCode = await new Promise<number>((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', (code) => resolve(code ?? 1));
      });
    });
}
