import { expect, test } from 'vitest';
import { cli, fakeService } from '../testing/fake-service.ts';

/** The answer of a gateway that does not know all of its nodes yet. */
const part = (deleted: number) => ({
  status: 503,
  body: {
    error: { code: 'node_unavailable', message: 'not all nodes are known', retryAfterMs: 1, details: { deleted } },
  },
});

test('a partial delete by label prints how many were deleted, says to repeat it, and fails', async () => {
  let tries = 0;
  const service = await fakeService(() => part(tries++ === 0 ? 3 : 0));
  const { code, stdout, stderr } = await cli(service, ['rm', '--label', 'job=42']);
  expect(code).toBe(255);
  expect(stdout).toBe('3 deleted\n');
  expect(stderr).toMatch(
    /^millibox: not all nodes are known \(node_unavailable\)\n {2}.*run the same command again\n$/,
  );
  tries = 0;
  expect(await cli(service, ['rm', '--json', '--label', 'job=42'])).toMatchObject({
    code: 255,
    stdout: '{"deleted":3}\n',
  });
});

test('labels are sent as given, including an = in the value', async () => {
  const service = await fakeService(() => ({ body: { deleted: 1 } }));
  expect(await cli(service, ['rm', '--label', 'a=b=c', '--label', 'd='])).toMatchObject({
    code: 0,
    stdout: '1 deleted\n',
  });
  expect(new URL(service.requests[0]!.url, service.url).searchParams.getAll('label')).toEqual(['a=b=c', 'd=']);
});

test('nothing is deleted when the arguments are ambiguous', async () => {
  const service = await fakeService(() => ({ body: { deleted: 1 } }));
  for (const words of [[], ['sbx-0123', '--label', 'a=1'], ['--label', 'a=1', '--label', 'a=2']]) {
    const { code, stderr } = await cli(service, ['rm', ...words]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .*\n\(see: millibox rm --help\)\n$/);
  }
  expect(service.requests).toEqual([]);
});
