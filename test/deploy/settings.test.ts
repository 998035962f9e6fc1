/** Every setting is documented. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { knownTo, type Program } from './settings.ts';
import { ROOT } from './tools.ts';

test.each<Program>(['gateway', 'agent'])('every setting of the %s is in docs', (program) => {
  const docs = path.join(ROOT, 'docs');
  const pages = readdirSync(docs).filter((name) => name.endsWith('.md'));
  const text = pages.map((name) => readFileSync(path.join(docs, name), 'utf8')).join('\n');
  const names = new Set(text.match(/\bMILLIBOX_[A-Z0-9_]+\b/g));
  expect(knownTo(program).size).toBeGreaterThan(20);
  expect([...knownTo(program)].filter((name) => !names.has(name))).toEqual([]);
});
