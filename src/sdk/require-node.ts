/** Imported first, so that an old Node.js is reported before anything it lacks is needed. */
import { unfitNode } from '../lib/node-version.ts';

const unfit = unfitNode();
if (unfit !== undefined) throw new Error(`millibox cannot be loaded: ${unfit}`);
