import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addCommands } from './catalog.ts';

const program = (): Command => new Command('millibox').option('--url <url>').exitOverride().enablePositionalOptions();

const names = await (async () => {
  const all = program();
  await addCommands(all, []);
  return all.commands.map((command) => command.name());
})();

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (more) => (text += more) }).outputHelp();
  return text;
}

test.each(names)('the help of %s, and of each command below it, ends with examples', async (name) => {
  const all = program();
  await addCommands(all, [name]);
  const command = all.commands.find((each) => each.name() === name) as Command;
  for (const each of [command, ...command.commands]) {
    expect(helpOf(each)).toMatch(/\nExamples?:\n(.|\n)*millibox/);
  }
});

test('for a global option given after a command, the error says to put it before', () => {
  const main = join(import.meta.dirname, 'main.ts');
  for (const words of [
    ['ls', '--url', 'http://127.0.0.1:1'],
    ['node', 'ls', '--api-key=x'],
  ]) {
    const { stderr, status } = spawnSync(process.execPath, [main, ...words], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: (--url|--api-key) goes before the command: millibox \1 … (ls|node)\n/);
  }
});

test('a command given after global options, or to help, is the one that is loaded', async () => {
  for (const words of [
    ['--url', 'http://127.0.0.1:1', 'create', '--memory', '1g'],
    ['help', 'create'],
  ]) {
    const all = program();
    await addCommands(all, words);
    const loaded = all.commands.filter((each) => each.options.length > 0).map((each) => each.name());
    expect(loaded).toEqual(['create']);
  }
});

test('listing the commands loads none of them, and no library except the option parser', () => {
  const hooks = `import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) { process.stderr.write('loads ' + url + '\\n'); return next(url, context); } });`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(hooks)}`, join(import.meta.dirname, 'main.ts'), '--help'],
    { encoding: 'utf8' },
  );
  expect(status).toBe(0);
  expect(stdout).toContain('exec');
  const loaded = stderr.split('\n').filter((line) => line.startsWith('loads file:'));
  const ours = loaded.filter((url) => !url.includes('/node_modules/'));
  expect(loaded.filter((url) => /node_modules\/(?!commander\/)/.test(url))).toEqual([]);
  expect(ours.length).toBeGreaterThan(0);
  expect(ours.filter((url) => /\/(commands|sdk|gateway)\//.test(url))).toEqual([]);
});
