/** Which variables the programs know, from their source, and how they interpret those that deployments set. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { loadConfig as loadAgent } from '../../agent/config.ts';
import { loadConfig as loadGateway } from '../../src/gateway/config.ts';
import { ROOT } from './tools.ts';

export type Program = 'gateway' | 'agent';

const CONFIG_ROOTS: Record<Program, string> = { gateway: 'src/gateway', agent: 'agent' };

/** Every variable that a config.ts of the program declares. */
export function knownTo(program: Program): Set<string> {
  const names = new Set<string>();
  const root = path.join(ROOT, CONFIG_ROOTS[program]);
  for (const file of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (path.basename(file) !== 'config.ts' || file.includes('boxinit')) continue;
    const text = readFileSync(path.join(root, file), 'utf8');
    for (const [, name] of text.matchAll(/^\s+(MILLIBOX_[A-Z0-9_]+):/gm)) names.add(name ?? '');
  }
  return names;
}

/** What a file named by a variable must contain for the program to start. */
const CONTENTS: Record<string, string> = {
  MILLIBOX_NODE_SECRET_FILE: 'a secret of more than sixteen characters',
  MILLIBOX_API_KEYS_FILE: `tenant:${'0'.repeat(64)}:admin`,
  MILLIBOX_TENANTS_FILE: '{}',
  MILLIBOX_REDIS_URL_FILE: 'redis://:secret@redis:6379',
};

/**
 * Loads the configuration as the program would at its start.
 * @param dir receives stand-ins for the files that variables name
 * @throws what the program throws.
 */
export function load(program: Program, env: Record<string, string>, dir: string): object {
  const local = { ...env };
  for (const name of Object.keys(env).filter((each) => each in CONTENTS)) {
    local[name] = path.join(dir, name);
    writeFileSync(local[name], CONTENTS[name] ?? '');
  }
  return program === 'gateway' ? loadGateway(local) : loadAgent(local);
}

/** Parses NAME=value lines as systemd reads an EnvironmentFile; `uncomment`: includes suggestions in comments. */
export function parseEnvironmentFile(text: string, { uncomment = false } = {}): Record<string, string> {
  const line = uncomment ? /^#?(MILLIBOX_[A-Z0-9_]+)=(.*)$/gm : /^(MILLIBOX_[A-Z0-9_]+)=(.*)$/gm;
  return Object.fromEntries([...text.matchAll(line)].map(([, name = '', value = '']) => [name, value]));
}
