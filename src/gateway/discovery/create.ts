/** Creates the discovery that the configuration asks for. */
import type { Logger } from '../../lib/logger.ts';
import type { NodeAddress } from '../config.ts';
import type { DiscoveryConfig } from './config.ts';
import type { Discovery } from './discovery.ts';
import { DnsDiscovery } from './dns.ts';
import { KubernetesDiscovery } from './kubernetes/kubernetes.ts';
import { StaticDiscovery } from './static.ts';

export function createDiscovery(config: DiscoveryConfig, nodes: readonly NodeAddress[], log: Logger): Discovery {
  const { source, family } = config;
  switch (source.type) {
    case 'static':
      return new StaticDiscovery(nodes);
    case 'dns':
      return new DnsDiscovery({ ...source.dns, family, log });
    case 'kubernetes':
      return new KubernetesDiscovery({ ...source.kubernetes, family, log });
  }
}
