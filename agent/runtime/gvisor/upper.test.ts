import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import { prepareUpper } from './upper.ts';

let directory: string;
let upper: string;
let image: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'upper-'));
  [upper, image] = [path.join(directory, 'upper'), path.join(directory, 'image')];
  mkdirSync(upper);
});
afterEach(() => rmSync(directory, { recursive: true }));

test('an image file that cannot be inspected does not pass for missing', async () => {
  symlinkSync(image, image);
  await expect(prepareUpper(upper, image, { workdir: '/', files: [], log: silent })).rejects.toMatchObject({
    code: 'ELOOP',
  });
});

test('a failure to create the working directory is logged', async () => {
  mkdirSync(image);
  symlinkSync('/etc', path.join(image, 'work'));
  const logged: object[] = [];
  const log = { ...silent, debug: (fields: object) => void logged.push(fields) };
  await prepareUpper(upper, image, { workdir: '/work/here', files: [], log });
  expect(logged).toMatchObject([{ workdir: '/work/here', err: { code: 'image_invalid' } }]);
});
