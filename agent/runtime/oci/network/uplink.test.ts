import { readlinkSync } from 'node:fs';
import { getuid } from 'node:process';
import { expect, test } from 'vitest';
import { hostProcess } from './uplink.ts';

test.skipIf(getuid?.() !== 0)("the host's process is one whose network namespace root can enter", () => {
  expect(readlinkSync(`/proc/${hostProcess()}/ns/net`)).toMatch(/^net:/);
});
