import crypto from 'node:crypto';
import { beforeEach, expect, test, vi } from 'vitest';
import { spyOfBuiltin } from '../../test/helpers/spy-of-builtin.ts';
import { agentProof, checkGatewayAuthorization, gatewayAuthorization, sameText } from './node-auth.ts';

const compare = spyOfBuiltin(vi.spyOn(crypto, 'timingSafeEqual'));
beforeEach(() => void compare.mockClear());

const SECRET = 'the secret of the nodes';
const CHALLENGE = 'c'.repeat(43);
const NONCE = 'n'.repeat(22);

test('texts are compared as digests of equal length, whatever their own', () => {
  expect([sameText('', 'a'), sameText('ab', 'ab'), sameText('a', 'a'.repeat(10_000))]).toEqual([false, true, false]);
  for (const [a, b] of compare.mock.calls) expect([a.byteLength, b.byteLength]).toEqual([32, 32]);
  expect(compare).toHaveBeenCalledTimes(3);
});

test("a gateway's proof is valid only for its secret, its challenge and its nonce", () => {
  const header = gatewayAuthorization(SECRET, CHALLENGE, NONCE);
  expect(checkGatewayAuthorization(SECRET, header)).toEqual({ challenge: CHALLENGE, nonce: NONCE });
  expect(checkGatewayAuthorization('another secret', header)).toBeUndefined();
  expect(checkGatewayAuthorization(SECRET, header.replace('ccc', 'ccd'))).toBeUndefined();
  expect(checkGatewayAuthorization(SECRET, header.replace('nnn', 'nnm'))).toBeUndefined();
  expect(compare).toHaveBeenCalledTimes(4);
});

test('a malformed proof is rejected before any secret is used', () => {
  for (const header of [undefined, '', 'Bearer x', `Millibox-Node ${CHALLENGE}.${NONCE}.short`]) {
    expect(checkGatewayAuthorization(SECRET, header)).toBeUndefined();
  }
  expect(compare).not.toHaveBeenCalled();
});

test('a proof by one side is invalid for the other', () => {
  const proof = agentProof(SECRET, CHALLENGE, NONCE, '');
  expect(checkGatewayAuthorization(SECRET, `Millibox-Node ${CHALLENGE}.${NONCE}.${proof}`)).toBeUndefined();
});
