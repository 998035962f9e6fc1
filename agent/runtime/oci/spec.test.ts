import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MASKED_PATHS, READONLY_PATHS, throttlingOf } from './spec.ts';

test('everything that the newest Docker masks or makes read-only is masked or read-only here', () => {
  // The defaults of Docker 28 and runc 1.3; the last is one per processor.
  const masked = [
    ...['asound', 'acpi', 'interrupts', 'kcore', 'keys', 'latency_stats', 'timer_list', 'timer_stats'].map(inProc),
    ...['sched_debug', 'scsi'].map(inProc),
    '/sys/firmware',
    '/sys/devices/virtual/powercap',
    '/sys/devices/system/cpu/cpu0/thermal_throttle',
  ];
  expect(MASKED_PATHS).toEqual(expect.arrayContaining(masked));
  expect(READONLY_PATHS).toEqual(expect.arrayContaining(['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map(inProc)));
});

const inProc = (name: string): string => `/proc/${name}`;

test('the throttling files of every processor are masked, and nothing else', () => {
  const dir = mkdtempSync(join(tmpdir(), 'millibox-spec-'));
  try {
    for (const name of ['cpu0', 'cpu1', 'cpu12', 'cpufreq', 'cpuidle', 'online']) mkdirSync(join(dir, name));
    expect(throttlingOf(dir).sort()).toEqual(
      ['cpu0', 'cpu1', 'cpu12'].map((name) => `${dir}/${name}/thermal_throttle`),
    );
    expect(throttlingOf(join(dir, 'nothing'))).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
