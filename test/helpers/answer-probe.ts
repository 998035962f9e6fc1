/** Loaded into a part of the service by `--import`: at SIGUSR2 it collects its garbage and tells what is left. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { tell } from './probed.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void;

process.on('SIGUSR2', () => {
  // An ordinary collection keeps the room that a load has made the young generation take, up to 128 MB of resident memory.
  collect({ type: 'major', flavor: 'last-resort' });
  tell();
});
