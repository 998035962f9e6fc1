/** Imported first, so that an old Node.js is named before anything of it is missed. */
import { unfitNode } from '../lib/node-version.ts';

const unfit = unfitNode();
if (unfit !== undefined) throw new Error(`millibox cannot be loaded: ${unfit}`);
