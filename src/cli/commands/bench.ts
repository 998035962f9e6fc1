import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';

/** The bench lives beside the sources, and is not part of an installed package. */
export function register(program: Command): void {
  program
    .command('bench')
    .description('measure: exec, create, burst, density, images, stream, load, scale, cluster')
    .argument('[arguments...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (words: string[], _options: object, command: Command) => {
      const root = join(
        import.meta.dirname,
        import.meta.dirname.includes(`${join('dist', 'src')}`) ? '../../../..' : '../../..',
      );
      const main = join(root, 'bench/main.ts');
      if (!existsSync(main)) command.error('error: the bench is part of the repository, not of the installed package');
      const child = spawn(process.execPath, [main, ...words], { cwd: root, stdio: 'inherit' });
      process.exitCode = await new Promise<number>((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', (code) => resolve(code ?? 1));
      });
    });
}
