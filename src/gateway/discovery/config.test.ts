import { expect, test } from 'vitest';
import { DEFAULT_DISCOVERY_CONFIG, parseDiscoveryConfig } from './config.ts';

test('without settings, the nodes are those of the configuration', () => {
  expect(parseDiscoveryConfig({})).toEqual(DEFAULT_DISCOVERY_CONFIG);
});

test('names of addresses and of services; resolvers of both families', () => {
  const { source } = parseDiscoveryConfig({
    MILLIBOX_DISCOVERY: 'dns',
    MILLIBOX_DNS_NAMES: 'agents.example.internal:8701, _node._tcp.example.internal',
    MILLIBOX_DNS_SERVERS: '10.0.0.2 10.0.0.3:5353,[fd00::2]:53',
    MILLIBOX_DNS_INTERVAL_MS: '500',
  });
  expect(source).toEqual({
    type: 'dns',
    dns: {
      names: [
        { type: 'address', host: 'agents.example.internal', port: 8701 },
        { type: 'srv', host: '_node._tcp.example.internal' },
      ],
      intervalMs: 500,
      servers: ['10.0.0.2', '10.0.0.3:5353', '[fd00::2]:53'],
    },
  });
});

test('Kubernetes: the defaults fit the chart', () => {
  expect(parseDiscoveryConfig({ MILLIBOX_DISCOVERY: 'kubernetes' }).source).toEqual({
    type: 'kubernetes',
    kubernetes: {
      namespace: null,
      selector: 'app.kubernetes.io/name=millibox,app.kubernetes.io/component=agent',
      port: 8701,
      followNodes: true,
      ignoreTaints: [],
      configFile: null,
    },
  });
});

test.each([
  [{ MILLIBOX_DISCOVERY: 'consul' }, 'MILLIBOX_DISCOVERY'],
  [{ MILLIBOX_DISCOVERY: 'dns' }, 'MILLIBOX_DNS_NAMES: no name is given'],
  [{ MILLIBOX_DISCOVERY: 'dns', MILLIBOX_DNS_NAMES: 'agents' }, 'agents is neither'],
  [{ MILLIBOX_DISCOVERY: 'dns', MILLIBOX_DNS_NAMES: '_node._tcp.x:1' }, 'is neither'],
  [{ MILLIBOX_DISCOVERY: 'dns', MILLIBOX_DNS_NAMES: '10.0.0.1:8701' }, 'is not a name'],
  [{ MILLIBOX_DISCOVERY: 'dns', MILLIBOX_DNS_NAMES: 'ws://x:1' }, 'is not a name'],
  [{ MILLIBOX_DISCOVERY: 'dns', MILLIBOX_DNS_NAMES: 'x:1', MILLIBOX_DNS_SERVERS: 'resolver' }, 'is not an address'],
  [{ MILLIBOX_DISCOVERY: 'kubernetes', MILLIBOX_KUBERNETES_NAMESPACE: '../secrets' }, 'MILLIBOX_KUBERNETES_NAMESPACE'],
  [{ MILLIBOX_DISCOVERY: 'kubernetes', MILLIBOX_KUBERNETES_PORT: '0' }, 'MILLIBOX_KUBERNETES_PORT'],
  [{ MILLIBOX_DISCOVERY_LEAVE_MS: 'soon' }, 'MILLIBOX_DISCOVERY_LEAVE_MS'],
])('%j is refused by name', (env, message) => {
  expect(() => parseDiscoveryConfig(env)).toThrow(message);
});
