/** The systemd units: systemd accepts them, and the programs accept their settings. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { knownTo, load, parseEnvironmentFile, type Program } from './settings.ts';
import { because, lacking, ROOT, run } from './tools.ts';

const missing = lacking('systemd-analyze');
const UNITS = path.join(ROOT, 'deploy/systemd');
const PROGRAMS: Program[] = ['gateway', 'agent'];

const unitText = (program: Program): string => readFileSync(path.join(UNITS, `millibox-${program}.service`), 'utf8');
const settings = (program: Program): string => readFileSync(path.join(UNITS, `${program}.env`), 'utf8');

/** All values of one name, which may be set several times. */
const valuesOf = (text: string, name: string): string[] =>
  [...text.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value ?? '');

/** The unit's own variables, with the credentials directory filled in. */
const unitEnvironment = (program: Program): Record<string, string> =>
  Object.fromEntries(
    valuesOf(unitText(program), 'Environment')
      .map((pair) => pair.replaceAll('%d', '/run/credentials/unit').split('=') as [string, string])
      .filter(([name]) => name.startsWith('MILLIBOX_')),
  );

describe('units', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'mb-units-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  /** The unit with a program that exists on this machine: the verifier checks for it. */
  function installed(program: Program): string {
    const file = path.join(dir, `millibox-${program}.service`);
    writeFileSync(file, unitText(program).replaceAll('/opt/millibox/bin/node', '/usr/bin/env'));
    return file;
  }

  describe.skipIf(missing.length > 0)(`as systemd reads them${because(missing)}`, () => {
    test.each(PROGRAMS)('%s: nothing is unknown or wrong', async (program) => {
      const { status, stderr } = await run('systemd-analyze', ['verify', '--man=no', installed(program)]);
      expect(stderr.split('\n').filter((line) => line.includes('millibox'))).toEqual([]);
      expect(status).toBe(0);
    });

    test('the gateway has few rights on its machine', async () => {
      const args = ['security', '--no-pager', '--offline=true', '--threshold=20', installed('gateway')];
      const { status, stdout } = await run('systemd-analyze', args);
      expect(status, stdout.slice(-500)).toBe(0);
    });
  });

  describe.each(PROGRAMS)('%s', (program) => {
    test('knows every variable that is set or suggested, and starts with them', () => {
      const told = { ...unitEnvironment(program), ...parseEnvironmentFile(settings(program)) };
      const suggested = parseEnvironmentFile(settings(program), { uncomment: true });
      const names = [...new Set([...Object.keys(told), ...Object.keys(suggested)])];
      expect(names.filter((name) => !knownTo(program).has(name))).toEqual([]);
      expect(() => load(program, told, dir)).not.toThrow();
      expect(() => load(program, { ...told, ...suggested }, dir)).not.toThrow();
    });

    test('reads secrets as credentials, never from its environment', () => {
      const loaded = valuesOf(unitText(program), 'LoadCredential').map((each) => each.split(':')[0]);
      const used = [...unitText(program).matchAll(/%d\/([\w-]+)/g)].map(([, name]) => name);
      expect(used).toEqual(loaded);
      const secrets = /MILLIBOX_(NODE_SECRET|API_KEYS?)=/;
      expect(unitText(program) + settings(program)).not.toMatch(secrets);
    });
  });

  test.each(PROGRAMS)('%s: is restarted however often it exits', (program) => {
    expect(valuesOf(unitText(program), 'Restart')).toEqual(['always']);
    // Otherwise five exits within ten seconds, one per second, would keep it down for good.
    expect(valuesOf(unitText(program), 'StartLimitIntervalSec')).toEqual(['0']);
  });

  test('a stop ends the agent and nothing that it started', () => {
    const agent = unitText('agent');
    expect(valuesOf(agent, 'KillMode')).toEqual(['process']);
    expect(valuesOf(agent, 'Delegate')).toEqual(['yes']);
    expect(unitEnvironment('agent')['MILLIBOX_ON_STOP']).toBe('keep');
    // Its mounts are the machine's, and its OOM score is not inherited.
    expect(agent).not.toMatch(/^(Protect|Private|OOMScoreAdjust)\w*=/m);
  });

  test('the gateway has longer to stop than it gives its work in progress', () => {
    const drain = Number(parseEnvironmentFile(settings('gateway'))['MILLIBOX_DRAIN_MS']);
    expect(Number(valuesOf(unitText('gateway'), 'TimeoutStopSec')[0]) * 1000).toBeGreaterThan(drain);
  });
});
