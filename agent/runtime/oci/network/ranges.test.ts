import { describe, expect, test } from 'vitest';
import { parseRange, rangeFor } from './ranges.ts';

/** A line of /proc/net/route. */
function route(device: string, network: string, mask: string): string {
  const hex = (address: string): string =>
    Buffer.from(address.split('.').map(Number).reverse()).toString('hex').toUpperCase();
  return [device, hex(network), '00000000', '0001', '0', '0', '0', hex(mask), '0', '0', '0'].join('\t');
}
const routes = (...lines: string[]): string => ['Iface\tDestination\tGateway', ...lines].join('\n');

describe('the range of an agent', () => {
  test('is the same each time, and that of another agent is another', () => {
    expect(rangeFor('a')).toEqual(rangeFor('a'));
    expect(rangeFor('a').subnet).not.toBe(rangeFor('b').subnet);
  });

  test('is none that the machine has a route to', () => {
    const { subnet } = rangeFor('a');
    const network = subnet.split('/')[0] ?? '';
    const taken = routes(route('eth1', network, '255.255.255.0'));
    expect(rangeFor('a', 'br', taken).subnet).not.toBe(subnet);
    // The way to everything else is not a route to it.
    expect(rangeFor('a', 'br', routes(route('eth0', '0.0.0.0', '0.0.0.0'))).subnet).toBe(subnet);
  });

  test('stays what it is while its bridge is there', () => {
    const elsewhere = routes(route('br', '10.210.16.0', '255.255.240.0'));
    expect(rangeFor('a', 'br', elsewhere)).toMatchObject({ subnet: '10.210.16.0/20', gateway: '10.210.16.1' });
  });

  test('is some range even where all are taken', () => {
    expect(rangeFor('a', 'br', routes(route('vpn', '10.0.0.0', '255.0.0.0')))).toEqual(rangeFor('a'));
  });
});

describe('a range that is set', () => {
  test('is a network', () => {
    expect(parseRange('10.9.0.0/16')).toMatchObject({ subnet: '10.9.0.0/16', gateway: '10.9.0.1', prefix: 16 });
  });

  test.each(['', '10.9.0.0', '10.9.0.1/16', '10.9.0.0/31', '10.0.0.0/8', '10.9.0.256/24', '10.9.0.0/16; drop'])(
    '"%s" is none',
    (text) => {
      expect(() => parseRange(text)).toThrow(/is not a network/);
    },
  );
});
