#!/usr/bin/env node
/** Entry point of the CLI: loads nothing else before it is clear that this Node.js can run it. */
import { unfitNode } from '../lib/node-version.ts';

/** No command in a sandbox exits with it. */
const CANNOT_RUN = 255;

const unfit = unfitNode();
if (unfit === undefined) void import('./program.ts');
else {
  process.stderr.write(`millibox: ${unfit}\n`);
  process.exitCode = CANNOT_RUN;
}
