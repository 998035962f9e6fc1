/** Pods and Nodes as an API server returns them, with the fields discovery reads and a few more. */
import type { KubeObject } from './kube-model.ts';

export interface PodFacts {
  name?: string;
  node: string | null;
  ip?: string | null;
  /** All addresses, where it has several. */
  ips?: readonly string[];
  ready?: boolean;
  phase?: string;
  deleting?: boolean;
  uid?: string;
  labels?: Record<string, string>;
  createdAt?: string;
  tolerations?: readonly object[];
}

const AGENT_LABELS = { 'app.kubernetes.io/name': 'millibox', 'app.kubernetes.io/component': 'agent' };
export const AGENT_SELECTOR = 'app.kubernetes.io/name=millibox,app.kubernetes.io/component=agent';
const NOW = '2026-01-01T00:00:00Z';

export function pod(facts: PodFacts): KubeObject {
  const { node, ip = '10.0.0.1', ready = true, phase = 'Running', deleting = false } = facts;
  const ips = facts.ips ?? (ip === null ? [] : [ip]);
  return {
    metadata: {
      name: facts.name ?? `agent-${node ?? 'nowhere'}`,
      namespace: 'sandboxes',
      labels: facts.labels ?? AGENT_LABELS,
      creationTimestamp: facts.createdAt ?? NOW,
      ...(facts.uid === undefined ? {} : { uid: facts.uid }),
      ...(deleting ? { deletionTimestamp: NOW, deletionGracePeriodSeconds: 30 } : {}),
    },
    spec: {
      ...(node === null ? {} : { nodeName: node }),
      containers: [{ name: 'agent', image: 'agent' }],
      tolerations: facts.tolerations ?? [],
    },
    status: {
      phase,
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      ...(ips[0] === undefined ? {} : { podIP: ips[0], podIPs: ips.map((each) => ({ ip: each })) }),
      containerStatuses: [{ name: 'agent', ready, restartCount: 0 }],
    },
  };
}

export interface NodeFacts {
  unschedulable?: boolean;
  deleting?: boolean;
  taints?: readonly object[];
}

export function node(name: string, { unschedulable, deleting = false, taints }: NodeFacts = {}): KubeObject {
  return {
    metadata: { name, creationTimestamp: NOW, ...(deleting ? { deletionTimestamp: NOW } : {}) },
    spec: {
      podCIDR: '10.0.0.0/24',
      ...(unschedulable === undefined ? {} : { unschedulable }),
      ...(taints === undefined ? {} : { taints }),
    },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  };
}
