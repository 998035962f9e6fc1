import { describe, expect, test } from 'vitest';
import { ServiceError } from '../../../protocol/errors.ts';
import { MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import { DEFAULT_PRIME_CONFIG, parsePrimeConfig } from './config.ts';
import { CreateBody, toCreateRequest } from './control/create.ts';
import { resolveImage } from './images.ts';
import { factsOf, toLabels, wordsOf } from './labels.ts';
import { Tokens } from './tokens.ts';

const config = DEFAULT_PRIME_CONFIG;
const code = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return error instanceof ServiceError ? error.code : String(error);
  }
  return 'nothing was thrown';
};

describe('tokens', () => {
  const at = (now: number, secret = 'a secret of sixteen'): Tokens => new Tokens(secret, () => now);
  const tokens = at(0);
  const claims = { tenant: 'default', sandbox: 'sbx-1', expiresAtMs: 2_000 };

  test('opens its own sandbox until its end, on any gateway with the same secret', () => {
    const header = `Bearer ${tokens.issue(claims)}`;
    expect(at(1_999).check(header, 'sbx-1')).toEqual(claims);
    expect(code(() => at(2_000).check(header, 'sbx-1'))).toBe('unauthenticated');
    expect(code(() => tokens.check(header, 'sbx-2'))).toBe('unauthenticated');
    expect(code(() => at(0, 'another secret, as long').check(header, 'sbx-1'))).toBe('unauthenticated');
  });

  test.each([undefined, '', 'Bearer ', 'Bearer a.b', 'Bearer e30.e30', `Bearer ${'x'.repeat(5_000)}`, 'Basic x'])(
    '%j is invalid',
    (header) => {
      expect(code(() => tokens.check(header, 'sbx-1'))).toBe('unauthenticated');
    },
  );
});

describe('image names', () => {
  const { imageMap, imageAllow } = parsePrimeConfig({
    MILLIBOX_PRIME_IMAGE_MAP: 'python:3.11-slim=millibox/debian:bookworm, cme8364/*=registry.local/prime/*',
    MILLIBOX_PRIME_IMAGE_ALLOW: 'millibox/* registry.local/*',
  });
  test.each([
    ['python:3.11-slim', 'millibox/debian:bookworm'],
    ['cme8364/opencode-math:latest', 'registry.local/prime/opencode-math:latest'],
    ['millibox/other:1', 'millibox/other:1'],
  ])('%s becomes %s', (asked, image) => {
    expect(resolveImage(asked, { imageMap, imageAllow })).toBe(image);
  });
  test('an image that is not on the list is refused; without a list none is', () => {
    expect(code(() => resolveImage('evil:latest', { imageMap, imageAllow }))).toBe('forbidden');
    expect(resolveImage('evil:latest', config)).toBe('evil:latest');
  });
});

describe('configuration', () => {
  test.each([
    [{ MILLIBOX_PRIME_TOKEN_TTL_MS: '1000' }, /TOKEN_TTL/],
    [{ MILLIBOX_PRIME_NETWORK: 'some' }, /NETWORK/],
    [{ MILLIBOX_PRIME_PUBLIC_URL: 'ftp://x' }, /PUBLIC_URL/],
    [{ MILLIBOX_PRIME_IMAGE_MAP: 'nothing' }, /IMAGE_MAP/],
    [{ MILLIBOX_PRIME_TCP_PORTS: '20000' }, /TCP_PORTS/],
    [{ MILLIBOX_PRIME_TCP_PORTS: '20100-20000' }, /TCP_PORTS/],
    [{ MILLIBOX_PRIME_TCP_PORTS: '65000-65536' }, /TCP_PORTS/],
    [{ MILLIBOX_PRIME_TCP_HOST: 'a b' }, /TCP_HOST/],
  ])('%j is refused by name', (env, message) => {
    expect(() => parsePrimeConfig(env)).toThrow(message);
  });
  test('no port is exposed for TCP unless the operator configures a range', () => {
    expect(parsePrimeConfig({}).tcpPorts).toBeNull();
    expect(parsePrimeConfig({ MILLIBOX_PRIME_TCP_PORTS: '20000-20099' }).tcpPorts).toEqual({
      first: 20_000,
      last: 20_099,
    });
  });
  test('the address of the data plane has no trailing slash', () => {
    expect(parsePrimeConfig({ MILLIBOX_PRIME_PUBLIC_URL: 'https://gw.example/' }).publicUrl).toBe('https://gw.example');
  });
});

describe('a create', () => {
  const body = (fields: object) => CreateBody.parse({ name: 'x', docker_image: 'i:1', ...fields });
  const made = (fields: object) => toCreateRequest(body(fields), config);

  test("has the clients' defaults", () => {
    expect(made({ start_command: 'tail -f /dev/null', disk_size_gb: 5, unknown_field: 1 })).toMatchObject({
      image: 'i:1',
      cpus: 1,
      memoryMb: 1024,
      network: 'internet',
      timeoutMs: 3_600_000,
    });
    expect(made({ start_command: 'tail -f /dev/null' }).startCommand).toBeUndefined();
    expect(made({}).diskMb).toBeUndefined();
  });

  test('with a disk that is too small for anything is told the minimum size', () => {
    const limited = { ...config, limitDisk: true };
    expect(toCreateRequest(body({ disk_size_gb: 0.004 }), limited).diskMb).toBe(4);
    expect(() => toCreateRequest(body({ disk_size_gb: 0.003 }), limited)).toThrow('disk_size_gb: at least 0.0039');
    expect(made({ disk_size_gb: 0.003 }).diskMb).toBeUndefined();
  });

  test.each([
    [{ network_access: false }, 'off'],
    [{ network_allowlist: [] }, 'off'],
    [{ network_allowlist: ['*'] }, 'internet'],
    [{ network_denylist: ['*'] }, 'off'],
    [{ network_denylist: [] }, 'internet'],
  ])('%j is the network %s', (fields, network) => {
    expect(made(fields).network).toBe(network);
  });

  test.each([
    [{ network_allowlist: ['pypi.org'] }, 'not_supported'],
    [{ network_denylist: ['pypi.org'] }, 'not_supported'],
    [{ network_allowlist: [], network_denylist: [] }, 'invalid_request'],
    [{ gpu_count: 1, gpu_type: 'H100' }, 'not_supported'],
    [{ checkpoint_id: 'c' }, 'not_supported'],
    [{ volumes: [{}] }, 'not_supported'],
    [{ docker_image: null }, 'invalid_request'],
    [{ labels: ['prime/facts'] }, 'invalid_request'],
    [{ docker_image: 'bad image!' }, 'invalid_request'],
  ])('%j is %s', (fields, expected) => {
    expect(code(() => made(fields))).toBe(expected);
  });

  test.each([
    [-1, MAX_TIMEOUT_MS],
    [43_200, MAX_TIMEOUT_MS],
    [30, 1_800_000],
  ])('a lifetime of %i minutes is %i ms', (minutes, ms) => {
    expect(made({ timeout_minutes: minutes }).timeoutMs).toBe(ms);
  });

  test('a start command given as a list reaches a shell as the same words', () => {
    const start_command = { executable: '/bin/sh', args: ['-c', "echo 'it''s' $HOME"] };
    expect(made({ start_command }).startCommand).toBe(`'/bin/sh' '-c' 'echo '\\''it'\\'''\\''s'\\'' $HOME'`);
  });
});

describe('labels', () => {
  const facts = {
    vm: true,
    timeoutMinutes: -1,
    idleTimeoutMinutes: 5,
    diskGb: 2.5,
    image: 'asked:1',
    team: 'team',
    region: null,
    secretNames: Array.from({ length: 40 }, (_, n) => `A_RATHER_LONG_NAME_OF_A_SECRET_${n}`),
  };

  test("carry the attributes of this API alongside the client's own words", () => {
    const labels = toLabels(['a', 'k=v', 'with spaces'], facts);
    expect(wordsOf(labels)).toEqual(['a', 'k=v', 'with spaces']);
    expect(factsOf(labels)).toEqual(facts);
    for (const value of Object.values(labels)) expect(value.length).toBeLessThanOrEqual(256);
  });

  test.each(['', '{', '[]', '{"vm":"yes"}', '{"timeoutMinutes":null}'])('rubbish %j is as good as nothing', (text) => {
    expect(factsOf({ 'prime/facts': text })).toMatchObject({ vm: false, timeoutMinutes: 60 });
  });
});
