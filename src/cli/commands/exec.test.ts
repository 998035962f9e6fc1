/** `millibox exec` where a proxy refuses every WebSocket. */
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { cli, fakeService, startCli } from '../testing/fake-service.ts';

/** Writes its input, and exits with 3. */
const cat = ({ body }: { body: string }) => {
  const { stdin = '' } = JSON.parse(body) as { stdin?: string };
  const stdoutBytes = Buffer.from(stdin, 'base64').length;
  return {
    body: {
      execId: 'exe-1',
      exitCode: 3,
      signal: null,
      stdout: stdin,
      stderr: '',
      timedOut: false,
      oomKilled: false,
      truncated: { stdout: false, stderr: false },
      stdoutBytes,
      stderrBytes: 0,
      durationMs: 1,
      queueMs: 0,
    },
  };
};

test('stdin is sent in one request', async () => {
  const service = await fakeService(cat);
  expect(await cli(service, ['exec', 'sbx-0123', '--', 'cat'], 'in')).toEqual({ code: 3, stdout: 'in', stderr: '' });
  const { stdout } = await cli(service, ['exec', '--json', 'sbx-0123', '--', 'cat'], 'in');
  expect(JSON.parse(stdout)).toMatchObject({ exitCode: 3, stdout: 'in' });
  expect(await cli(service, ['exec', '-n', 'sbx-0123', '--', 'cat'], 'in')).toMatchObject({ code: 3, stdout: '' });
});

test('the user is told about waiting for the end of stdin, and a signal ends the wait', async () => {
  const service = await fakeService(cat);
  const child = startCli(service, ['exec', 'sbx-0123', '--', 'cat']);
  let said = '';
  child.stderr?.on('data', (text: string) => (said += text));
  await Promise.race([once(child.stderr as NonNullable<typeof child.stderr>, 'data'), child.ended]);
  expect(said).toMatch(/WebSockets are blocked: .*-n/);
  child.kill('SIGINT');
  expect((await child.ended).code).toBe(130);
  expect(service.requests).toEqual([]);
});

test('more stdin than fits in a request is refused with 255, which no command exits with', async () => {
  const service = await fakeService(cat);
  const input = 'x'.repeat(17 * 1024 * 1024);
  const { code, stderr } = await cli(service, ['exec', 'sbx-0123', '--', 'cat'], input);
  expect(code).toBe(255);
  expect(stderr).toMatch(/bytes of stdin needs a WebSocket.*body_too_large/);
});

function opened(path: string, flags: number): number {
  const file = openSync(path, flags);
  onTestFinished(() => closeSync(file));
  return file;
}

test.runIf(existsSync('/proc/self/mem'))('no command takes a stdin that breaks off for a whole one', async () => {
  const service = await fakeService(cat);
  for (const options of [[], ['--json']]) {
    // Reading it fails with EIO: no memory is mapped at its start.
    const stdin = opened('/proc/self/mem', constants.O_RDONLY);
    const { code, stdout, stderr } = await startCli(service, ['exec', ...options, 'sbx-0123', '--', 'cat'], stdin)
      .ended;
    expect([code, stdout, stderr]).toEqual([255, '', expect.stringMatching(/^millibox: stdin cannot be read.*EIO/)]);
  }
  expect(service.requests).toEqual([]);
});

test('a stdin that is open for writing only, as with nohup, is empty', async () => {
  const service = await fakeService(cat);
  const stdin = opened('/dev/null', constants.O_WRONLY);
  const { code, stdout } = await startCli(service, ['exec', 'sbx-0123', '--', 'cat'], stdin).ended;
  expect([code, stdout]).toEqual([3, '']);
});

test('for an option after the sandbox the error says to put it before, and it is not taken for a program', async () => {
  const service = await fakeService(cat);
  const { code, stdout, stderr } = await cli(service, ['exec', 'sbx-0123', '-s', '--', 'echo hi']);
  expect({ code, stdout }).toEqual({ code: 255, stdout: '' });
  expect(stderr).toContain('error: -s goes before the sandbox: millibox exec -s … sbx-0123 -- …\n');
  expect(service.requests).toEqual([]);
  expect(await cli(service, ['exec', '-n', 'sbx-0123', '--', '-s'])).toMatchObject({ code: 3 });
});
