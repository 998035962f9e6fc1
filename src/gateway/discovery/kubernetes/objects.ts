/** The few fields of pods and Nodes that are kept, so that thousands of them take little memory. */
import { isIP } from 'node:net';
import * as z from 'zod';

export interface Taint {
  key: string;
  value: string;
  effect: string;
}

export interface Toleration {
  /** Empty: matches every key. */
  key: string;
  operator: string;
  value: string;
  /** Empty: matches every effect. */
  effect: string;
}

export interface AgentPod {
  name: string;
  uid: string;
  /** Name of the Node that it runs on. */
  nodeName: string;
  /** IPv4 and IPv6, if it has both. */
  addresses: readonly string[];
  /**
   * According to the probes of its containers. The pod's Ready condition also turns false when the kubelet is
   * unreachable.
   */
  ready: boolean;
  deleting: boolean;
  /** Its containers have not started yet. */
  pending: boolean;
  createdAtMs: number;
  tolerations: readonly Toleration[];
}

export interface KubeNode {
  name: string;
  unschedulable: boolean;
  deleting: boolean;
  taints: readonly Taint[];
}

const text = z.string().nullish();

const Pod = z.object({
  metadata: z.object({ name: z.string(), uid: z.string(), creationTimestamp: text, deletionTimestamp: text }),
  spec: z.object({
    nodeName: text,
    tolerations: z.array(z.object({ key: text, operator: text, value: text, effect: text })).nullish(),
  }),
  status: z
    .object({
      phase: text,
      podIP: text,
      podIPs: z.array(z.object({ ip: text })).nullish(),
      containerStatuses: z.array(z.object({ ready: z.boolean().nullish() })).nullish(),
    })
    .nullish(),
});

const Node = z.object({
  metadata: z.object({ name: z.string(), deletionTimestamp: text }),
  spec: z
    .object({
      unschedulable: z.boolean().nullish(),
      taints: z.array(z.object({ key: z.string(), value: text, effect: text })).nullish(),
    })
    .nullish(),
});

/** Null: it cannot be read. A pod without a node or address, or one that has ended, has no `addresses`. */
export function readPod(object: unknown): AgentPod | null {
  const parsed = Pod.safeParse(object);
  if (!parsed.success) return null;
  const { metadata, spec, status } = parsed.data;
  const found = [status?.podIP, ...(status?.podIPs ?? []).map(({ ip }) => ip)];
  const addresses = found.filter((ip): ip is string => typeof ip === 'string' && isIP(ip) !== 0);
  const containers = status?.containerStatuses ?? [];
  return {
    name: metadata.name,
    uid: metadata.uid,
    nodeName: spec.nodeName ?? '',
    addresses: status?.phase === 'Running' ? [...new Set(addresses)] : [],
    ready: containers.length > 0 && containers.every(({ ready }) => ready === true),
    deleting: typeof metadata.deletionTimestamp === 'string',
    pending: status?.phase === 'Pending',
    createdAtMs: Date.parse(metadata.creationTimestamp ?? '') || 0,
    tolerations: (spec.tolerations ?? []).map((toleration) => ({
      key: toleration.key ?? '',
      operator: toleration.operator ?? 'Equal',
      value: toleration.value ?? '',
      effect: toleration.effect ?? '',
    })),
  };
}

/** Null: it cannot be read. */
export function readNode(object: unknown): KubeNode | null {
  const parsed = Node.safeParse(object);
  if (!parsed.success) return null;
  const { metadata, spec } = parsed.data;
  return {
    name: metadata.name,
    unschedulable: spec?.unschedulable === true,
    deleting: typeof metadata.deletionTimestamp === 'string',
    taints: (spec?.taints ?? []).map(({ key, value, effect }) => ({ key, value: value ?? '', effect: effect ?? '' })),
  };
}
