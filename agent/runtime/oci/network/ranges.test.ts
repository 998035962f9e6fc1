import { describe, expect, test } from 'vitest';
import { parseRange, rangeFor } from './ranges.ts';

/** A line of /proc/net/route. */
function route(device: string, network: string, mask: string): string {
  const hex = (address: string): string =>
    Buffer.from(address.split('.').map(Number).reverse()).toString('hex').toUpperCase();
  return [device, hex(network), '00000000', '0001', '0', '0', '0', hex(mask), '0', '0', '0'].join('\t');
}
const routes = (...lines: string[]): string => ['Iface\tDestination\tGateway', ...lines].join('\n');

describe("an agent's range", () => {
  test('is stable, and differs between agents', () => {
    expect(rangeFor('a')).toEqual(rangeFor('a'));
    expect(rangeFor('a').subnet).not.toBe(rangeFor('b').subnet);
  });

  test('is one that no route of the machine covers', () => {
    const { subnet } = rangeFor('a');
    const network = subnet.split('/')[0] ?? '';
    const taken = routes(route('eth1', network, '255.255.255.0'));
    expect(rangeFor('a', 'br', taken).subnet).not.toBe(subnet);
    // The default route does not count.
    expect(rangeFor('a', 'br', routes(route('eth0', '0.0.0.0', '0.0.0.0'))).subnet).toBe(subnet);
  });

  test('stays the same while its bridge exists', () => {
    const elsewhere = routes(route('br', '10.210.16.0', '255.255.240.0'));
    expect(rangeFor('a', 'br', elsewhere)).toMatchObject({ subnet: '10.210.16.0/20', gateway: '10.210.16.1' });
  });

  test('is assigned even if all are taken', () => {
    expect(rangeFor('a', 'br', routes(route('vpn', '10.0.0.0', '255.0.0.0')))).toEqual(rangeFor('a'));
  });
});

describe('a configured range', () => {
  test('is a network', () => {
    expect(parseRange('10.9.0.0/16')).toMatchObject({ subnet: '10.9.0.0/16', gateway: '10.9.0.1', prefix: 16 });
  });

  test.each(['', '10.9.0.0', '10.9.0.1/16', '10.9.0.0/31', '10.0.0.0/8', '10.9.0.256/24', '10.9.0.0/16; drop'])(
    '"%s" is not',
    (text) => {
      expect(() => parseRange(text)).toThrow(/is not a network/);
    },
  );
});
