/** Unusual but valid values. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { load } from 'js-yaml';
import { describe, expect, test } from 'vitest';
import { containerOf, only, podOf, render } from './manifests.ts';
import { because, CHART, lacking } from './tools.ts';

const missing = lacking('helm');
const VERSION = (load(readFileSync(path.join(CHART, 'Chart.yaml'), 'utf8')) as { appVersion: string }).appVersion;
const HEX = 'ab'.repeat(32);

describe.skipIf(missing.length > 0)(`a value of the chart${because(missing)}`, () => {
  test('that is a number reaches the programs in full, however large it is', async () => {
    const manifests = await render({
      values: {
        gateway: { env: { MILLIBOX_RESUME_MS: 3_600_000, MILLIBOX_QUEUE_MAX: 12, MILLIBOX_PRIME_NETWORK: false } },
        agent: { memoryOvercommit: 1_000_000, env: { MILLIBOX_JOB_LOGS_MB: 8_388_608, MILLIBOX_SHARE: 0.25 } },
      },
    });
    const gateway = containerOf(only(manifests, 'Deployment'), 'gateway').env;
    expect(gateway).toContainEqual({ name: 'MILLIBOX_RESUME_MS', value: '3600000' });
    expect(gateway).toContainEqual({ name: 'MILLIBOX_QUEUE_MAX', value: '12' });
    expect(gateway).toContainEqual({ name: 'MILLIBOX_PRIME_NETWORK', value: 'false' });
    const agent = containerOf(only(manifests, 'DaemonSet'), 'agent').env;
    expect(agent).toContainEqual({ name: 'MILLIBOX_MEMORY_OVERCOMMIT', value: '1000000' });
    expect(agent).toContainEqual({ name: 'MILLIBOX_JOB_LOGS_MB', value: '8388608' });
    expect(agent).toContainEqual({ name: 'MILLIBOX_SHARE', value: '0.25' });
  });

  test('that gives keys to tenants only leaves the file of the other keys present but empty', async () => {
    const named = { team: { keys: [{ sha256: HEX }] } };
    const manifests = await render({ values: { auth: { generateAdminKey: false }, tenants: { named } } });
    expect(only(manifests, 'Secret', 'api-keys').data).toEqual({ 'api-keys': '' });
  });

  test('that names two releases in one long namespace gives each its own rights', async () => {
    const names = async (fullnameOverride: string): Promise<string[]> => {
      const manifests = await render({ values: { fullnameOverride }, args: ['--namespace', 'n'.repeat(63)] });
      return manifests.filter(({ kind }) => kind.startsWith('ClusterRole')).map(({ metadata }) => metadata.name);
    };
    const [one, other] = [await names('one'), await names('other')];
    expect(one).toHaveLength(2);
    expect(one.filter((name) => other.includes(name))).toEqual([]);
  });

  test.each<[string, object, string]>([
    ['the version of the chart', {}, `:${VERSION}`],
    ['a tag', { tag: 'main' }, ':main'],
    ['a digest', { digest: `sha256:${HEX}` }, `@sha256:${HEX}`],
    ['a digest rather than a tag', { tag: 'main', digest: `sha256:${HEX}` }, `@sha256:${HEX}`],
  ])('that names an image has every container take it by %s', async (_name, image, by) => {
    const manifests = await render({ values: { gateway: { image }, agent: { image } } });
    const images = (kind: string): string[] => {
      const { containers, initContainers = [] } = podOf(only(manifests, kind));
      return [...initContainers, ...containers].map((container) => container.image);
    };
    expect(images('Deployment')).toEqual([`millibox/gateway${by}`]);
    expect(images('DaemonSet')).toEqual([`millibox/agent${by}`, `millibox/agent${by}`]);
  });
});
