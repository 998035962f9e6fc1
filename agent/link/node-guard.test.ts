import { afterEach, expect, test, vi } from 'vitest';
import { gatewayAuthorization } from '../../src/lib/node-auth.ts';
import { NodeGuard } from './node-guard.ts';

const SECRET = 'a secret of some length';
const NONCE = 'n'.repeat(32);
afterEach(() => void vi.useRealTimers());

test('the answer to a fresh challenge is accepted, once', () => {
  const guard = new NodeGuard(SECRET);
  const header = gatewayAuthorization(SECRET, guard.challenge(), NONCE);
  expect(guard.admit(header)).toBe(NONCE);
  expect(guard.admit(header)).toBeUndefined();
});

test('a foreign, expired or altered challenge is rejected', () => {
  vi.useFakeTimers();
  const guard = new NodeGuard(SECRET);
  const foreign = new NodeGuard(SECRET).challenge();
  const old = guard.challenge();
  const changed = guard.challenge().replace(/^./, (first) => (first === 'A' ? 'B' : 'A'));
  vi.advanceTimersByTime(31_000);
  for (const challenge of [foreign, old, changed]) {
    expect(guard.admit(gatewayAuthorization(SECRET, challenge, NONCE))).toBeUndefined();
  }
});

test('only a header made with the secret is accepted', () => {
  const guard = new NodeGuard(SECRET);
  const right = gatewayAuthorization(SECRET, guard.challenge(), NONCE);
  const wrong = [undefined, '', 'Bearer x', `${right}x`, right.replace(NONCE, 'm'.repeat(32)), 'Millibox-Node a.b.c'];
  for (const header of wrong) expect(guard.admit(header)).toBeUndefined();
  expect(guard.admit(gatewayAuthorization('another secret, also long', guard.challenge(), NONCE))).toBeUndefined();
});

test('changing the wall clock between challenge and answer has no effect', () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  for (const step of [86_400_000, -86_400_000]) {
    const guard = new NodeGuard(SECRET);
    const challenge = guard.challenge();
    vi.setSystemTime(Date.now() + step);
    expect(guard.admit(gatewayAuthorization(SECRET, challenge, NONCE))).toBe(NONCE);
  }
});
