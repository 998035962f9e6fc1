/** Settings of discovery. The gateway's config.ts passes the environment in; nothing here reads it. */
import { isIP } from 'node:net';
import * as z from 'zod';
import { NODE_PORT } from '../../protocol/node.ts';
import { readEnv, wholeNumber, words } from '../../lib/env-schema.ts';

/** Which address to use of a node that has several. auto: IPv4 if it has one. */
export type Family = 'auto' | '4' | '6';

export interface DnsConfig {
  names: readonly DnsName[];
  intervalMs: number;
  /** `host:port` or `host`. Empty: the machine's own resolvers. */
  servers: readonly string[];
}

/** SRV records contain the port. */
export type DnsName = { type: 'address'; host: string; port: number } | { type: 'srv'; host: string };

export interface KubernetesConfig {
  /** Null: that of the gateway's own pod, or of the kubeconfig's context. */
  namespace: string | null;
  selector: string;
  port: number;
  followNodes: boolean;
  /** Keys of taints to ignore. */
  ignoreTaints: readonly string[];
  /** A kubeconfig file. Null: the service account of the pod that the gateway runs in. */
  configFile: string | null;
}

export interface DiscoveryConfig {
  source: { type: 'static' } | { type: 'dns'; dns: DnsConfig } | { type: 'kubernetes'; kubernetes: KubernetesConfig };
  family: Family;
  /** How long sandboxes may live on on a node that is no longer listed but still answers. */
  leaveMs: number;
  /** How long an empty list is ignored. */
  emptyMs: number;
}

const DAY_MS = 86_400_000;

export const DEFAULT_DISCOVERY_CONFIG: DiscoveryConfig = {
  source: { type: 'static' },
  family: 'auto',
  leaveMs: 3_600_000,
  emptyMs: 300_000,
};

/** The syntax of Kubernetes label selectors, both equality-based and set-based. */
const SELECTOR = /^[\w./\-=!, ()]{1,1000}$/;

const Environment = z.object({
  MILLIBOX_DISCOVERY: z.enum(['static', 'dns', 'kubernetes']).default('static'),
  MILLIBOX_DISCOVERY_FAMILY: z.enum(['auto', '4', '6']).default('auto'),
  MILLIBOX_DISCOVERY_LEAVE_MS: wholeNumber(0, DAY_MS, DEFAULT_DISCOVERY_CONFIG.leaveMs),
  MILLIBOX_DISCOVERY_EMPTY_MS: wholeNumber(0, DAY_MS, DEFAULT_DISCOVERY_CONFIG.emptyMs),
  MILLIBOX_DNS_NAMES: z.string().default(''),
  MILLIBOX_DNS_INTERVAL_MS: wholeNumber(100, DAY_MS, 10_000),
  MILLIBOX_DNS_SERVERS: z.string().default(''),
  MILLIBOX_KUBERNETES_NAMESPACE: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'not the name of a namespace')
    .optional(),
  MILLIBOX_KUBERNETES_SELECTOR: z
    .string()
    .regex(SELECTOR, 'not a label selector')
    .default('app.kubernetes.io/name=millibox,app.kubernetes.io/component=agent'),
  MILLIBOX_KUBERNETES_PORT: wholeNumber(1, 65_535, NODE_PORT),
  MILLIBOX_KUBERNETES_NODES: z.enum(['auto', 'off']).default('auto'),
  MILLIBOX_KUBERNETES_IGNORE_TAINTS: z.string().default(''),
  MILLIBOX_KUBERNETES_CONFIG: z.string().optional(),
});

/** @throws Error that names the variable and the problem. */
export function parseDiscoveryConfig(env: Record<string, string | undefined>): DiscoveryConfig {
  const e = readEnv(Environment, env);
  return {
    source: sourceOf(e),
    family: e.MILLIBOX_DISCOVERY_FAMILY,
    leaveMs: e.MILLIBOX_DISCOVERY_LEAVE_MS,
    emptyMs: e.MILLIBOX_DISCOVERY_EMPTY_MS,
  };
}

function sourceOf(e: z.infer<typeof Environment>): DiscoveryConfig['source'] {
  switch (e.MILLIBOX_DISCOVERY) {
    case 'static':
      return { type: 'static' };
    case 'dns': {
      const names = words(e.MILLIBOX_DNS_NAMES).map(parseName);
      if (names.length === 0) throw new Error('MILLIBOX_DNS_NAMES: no name is given');
      const servers = words(e.MILLIBOX_DNS_SERVERS);
      for (const server of servers) assertServer(server);
      return { type: 'dns', dns: { names, intervalMs: e.MILLIBOX_DNS_INTERVAL_MS, servers } };
    }
    case 'kubernetes':
      return {
        type: 'kubernetes',
        kubernetes: {
          namespace: e.MILLIBOX_KUBERNETES_NAMESPACE ?? null,
          selector: e.MILLIBOX_KUBERNETES_SELECTOR,
          port: e.MILLIBOX_KUBERNETES_PORT,
          followNodes: e.MILLIBOX_KUBERNETES_NODES === 'auto',
          ignoreTaints: words(e.MILLIBOX_KUBERNETES_IGNORE_TAINTS),
          configFile: e.MILLIBOX_KUBERNETES_CONFIG ?? null,
        },
      };
  }
}

const HOST = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*\.?$/i;

function parseName(word: string): DnsName {
  const [, host = '', port] = /^(.*?)(?::(\d{1,5}))?$/.exec(word) ?? [];
  if (!HOST.test(host) || isIP(host) !== 0) throw new Error(`MILLIBOX_DNS_NAMES: ${word} is not a name`);
  const isService = host.startsWith('_');
  if (isService && port === undefined) return { type: 'srv', host };
  const number = Number(port);
  if (isService || !(number >= 1 && number <= 65_535)) {
    throw new Error(`MILLIBOX_DNS_NAMES: ${word} is neither name:port nor _service._protocol.name`);
  }
  return { type: 'address', host, port: number };
}

function assertServer(server: string): void {
  const [, bracketed, plain] = /^(?:\[([^\]]+)\](?::\d{1,5})?|([^:]+)(?::\d{1,5})?|(.*))$/.exec(server) ?? [];
  if (isIP(bracketed ?? plain ?? server) === 0) throw new Error(`MILLIBOX_DNS_SERVERS: ${server} is not an address`);
}
