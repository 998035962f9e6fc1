import { describe, expect, test } from 'vitest';
import { Addresses } from './addresses.ts';
import { rangeFor } from './ranges.ts';
import { ruleset } from './rules.ts';

describe('addresses', () => {
  test("each address is given to one sandbox at a time, and never the network's or the bridge's", () => {
    const range = rangeFor('a');
    const addresses = new Addresses(range);
    const taken = Array.from({ length: 1_000 }, () => addresses.take());
    expect(new Set(taken).size).toBe(1_000);
    expect(taken).not.toContain(range.gateway);
    expect(taken.every((address) => address.startsWith('10.'))).toBe(true);
  });

  test('a returned address rests before it is reassigned', () => {
    const addresses = new Addresses(rangeFor('a'));
    const first = addresses.take();
    addresses.giveBack(first);
    expect(addresses.take()).not.toBe(first);
  });

  test('an address held by a sandbox of an earlier agent is not reassigned', () => {
    const range = rangeFor('a');
    const held = new Addresses(range).take();
    const addresses = new Addresses(range);
    addresses.adopt(held);
    expect(addresses.take()).not.toBe(held);
  });

  test('when all are in use, the error says so', () => {
    const addresses = new Addresses(rangeFor('a'));
    expect(() => {
      for (;;) addresses.take();
    }).toThrow(/in use/);
  });

  test('agents on one machine get separate ranges', () => {
    expect(rangeFor('a').subnet).not.toBe(rangeFor('b').subnet);
    expect(rangeFor('a')).toEqual(rangeFor('a'));
  });
});

describe('rules', () => {
  const range = rangeFor('a');
  const rules = (resolvers: string[]): string => ruleset({ table: 't', bridge: 'br', range, resolvers });

  test('a resolver is allowed for DNS only, before private addresses are refused', () => {
    const text = rules(['10.0.0.2']);
    expect(text).toMatch(
      /ip daddr \{ 10\.0\.0\.2 \} meta l4proto \{ tcp, udp \} th dport 53 counter name asked accept/,
    );
    expect(text.indexOf('dport 53')).toBeLessThan(text.indexOf('169.254.0.0/16'));
  });

  test('text that is not an address never gets into the rules', () => {
    expect(rules(['1.1.1.1 } accept; #', 'fe80::1'])).not.toMatch(/dport 53|#/);
  });
});
