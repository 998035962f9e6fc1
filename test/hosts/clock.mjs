// Preloaded into a program (`--import`): its wall clock is off by the milliseconds that a file says, from the moment
// they are written there, as after a step by hand or by NTP. Clocks that only go forward are left alone, as the kernel
// leaves them.
import { readFileSync } from 'node:fs';

const file = process.env['TEST_CLOCK_FILE'];
const RealDate = Date;
const real = Date.now;
const LOOK_MS = 50;
let offset = 0;
let lookedAt = -Infinity;

function now() {
  if (performance.now() - lookedAt > LOOK_MS) {
    lookedAt = performance.now();
    try {
      offset = Number(readFileSync(file, 'utf8')) || 0;
    } catch {
      offset = 0;
    }
  }
  return real.call(RealDate) + offset;
}

globalThis.Date = class Date extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(now());
    else super(...args);
  }

  static now() {
    return now();
  }
};
