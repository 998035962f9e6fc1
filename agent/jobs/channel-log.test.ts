import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ChannelLog } from './channel-log.ts';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(path.join(tmpdir(), 'mbx-log-'))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('what comes right behind what was written is written too', async () => {
  const log = new ChannelLog({
    directory,
    ready: Promise.resolve(),
    name: 'stdout',
    segmentBytes: 1_000_000,
    changed: () => undefined,
    failed: (error) => expect.unreachable(String(error)),
  });
  // Each is told of while the file of the one before is being closed.
  for (let i = 1; i <= 50; i++) {
    await log.append(Buffer.from('abcdefghij'));
    expect(log.written).toBe(10 * i);
  }
  await log.close();
  expect(readFileSync(path.join(directory, 'stdout.0'), 'utf8')).toBe('abcdefghij'.repeat(50));
});
