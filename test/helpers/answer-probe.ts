/** Loaded into a part of the service by `--import`: at SIGUSR2 it collects garbage and reports what remains. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { writeReport } from './probe-report.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void;

process.on('SIGUSR2', () => {
  // An ordinary collection keeps the young generation at the size that a load has grown it to, up to 128 MB of resident
  // memory.
  collect({ type: 'major', flavor: 'last-resort' });
  writeReport();
});
