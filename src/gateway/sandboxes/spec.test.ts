import { expect, test } from 'vitest';
import { MAX_ARG_BYTES } from '../../protocol/limits.ts';
import { CreateSandboxRequest } from '../../protocol/sandbox.ts';
import { specsOf } from './spec.ts';

const make = (input: object) => specsOf('tenant', CreateSandboxRequest.parse(input), 'image', 0);

test.each(['env', 'secrets'])(
  'a variable of %s that no program could be given is refused, and its value not told',
  (where) => {
    const longest = 'x'.repeat(MAX_ARG_BYTES - 'A='.length);
    expect(make({ [where]: { A: longest } })).toHaveLength(1);
    const failure = (value: string) => expect(() => make({ [where]: { A: value } }));
    const refused = expect.objectContaining({ code: 'invalid_request', message: expect.not.stringContaining('xxx') });
    failure(`${longest}x`).toThrow(refused);
    failure('\u00e9'.repeat(MAX_ARG_BYTES / 2)).toThrow(refused);
  },
);

test('bytes that are no UTF-8 count as what they are', () => {
  expect(make({ env: { A: '\udcff'.repeat(60_000) } })).toHaveLength(1);
});
