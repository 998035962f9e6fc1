/**
 * A cluster in which the chart was installed, as far as an API server alone can provide one: tests add Nodes and pods.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { only, podOf, render, type Manifest, type PodSpec } from '../../deploy/manifests.ts';
import type { ControlPlane } from './control-plane.ts';

/** The namespace that the chart is rendered for. */
export const NAMESPACE = 'boxes';
const NODES = '/api/v1/nodes';
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';

/** Paths of collections, by kind. */
const COLLECTIONS: Record<string, string> = {
  Pod: PODS,
  ConfigMap: `/api/v1/namespaces/${NAMESPACE}/configmaps`,
  Secret: `/api/v1/namespaces/${NAMESPACE}/secrets`,
  Service: `/api/v1/namespaces/${NAMESPACE}/services`,
  ServiceAccount: `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`,
  Deployment: `/apis/apps/v1/namespaces/${NAMESPACE}/deployments`,
  DaemonSet: `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets`,
  Ingress: `/apis/networking.k8s.io/v1/namespaces/${NAMESPACE}/ingresses`,
  NetworkPolicy: `/apis/networking.k8s.io/v1/namespaces/${NAMESPACE}/networkpolicies`,
  PodDisruptionBudget: `/apis/policy/v1/namespaces/${NAMESPACE}/poddisruptionbudgets`,
  Role: `${RBAC}/namespaces/${NAMESPACE}/roles`,
  RoleBinding: `${RBAC}/namespaces/${NAMESPACE}/rolebindings`,
  ClusterRole: `${RBAC}/clusterroles`,
  ClusterRoleBinding: `${RBAC}/clusterrolebindings`,
};
const ACCESS = ['ServiceAccount', 'Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'];

export interface PodFacts {
  node: string;
  ip: string;
  ready?: boolean;
  /** Default: derived from its node. */
  name?: string;
}

export class ChartCluster {
  readonly plane: ControlPlane;
  readonly #manifests: Manifest[];

  private constructor(plane: ControlPlane, manifests: Manifest[]) {
    this.plane = plane;
    this.#manifests = manifests;
  }

  /** Installs the gateway's permissions. */
  static async install(plane: ControlPlane): Promise<ChartCluster> {
    const cluster = new ChartCluster(plane, await render());
    await plane.make('/api/v1/namespaces', { metadata: { name: NAMESPACE } });
    // As a controller does for each namespace.
    await plane.make(collection('ServiceAccount'), { metadata: { name: 'default' } });
    for (const kind of ACCESS) await cluster.apply(kind);
    return cluster;
  }

  /** Applies the chart's object of this kind, of which it has one. */
  async apply(kind: string): Promise<void> {
    await this.plane.make(collection(kind), only(this.#manifests, kind));
  }

  async withdraw(kind: string): Promise<void> {
    await this.plane.remove(`${collection(kind)}/${only(this.#manifests, kind).metadata.name}`);
  }

  /** Writes the gateway's token to the file named by its kubeconfig. */
  async issueToken(): Promise<string> {
    const token = await this.plane.token(NAMESPACE, only(this.#manifests, 'ServiceAccount').metadata.name);
    writeFileSync(join(this.plane.dir, 'token'), token);
    return token;
  }

  /** Writes a token that is no longer valid. */
  async issueOldToken(): Promise<void> {
    await this.plane.make(collection('ServiceAccount'), { metadata: { name: 'former' } });
    writeFileSync(join(this.plane.dir, 'token'), await this.plane.token(NAMESPACE, 'former'));
    await this.plane.remove(`${collection('ServiceAccount')}/former`);
  }

  async addNode(name: string): Promise<void> {
    await this.plane.make(NODES, { metadata: { name } });
  }

  async changeNode(name: string, spec: object): Promise<void> {
    await this.plane.change(`${NODES}/${name}`, { spec });
  }

  async removeNode(name: string): Promise<void> {
    await this.plane.remove(`${NODES}/${name}`);
  }

  /** As the chart's DaemonSet controller creates it and a kubelet reports it. */
  async addPod({ node, ip, ready = true, name = `agent-${node}` }: PodFacts): Promise<void> {
    const set = only(this.#manifests, 'DaemonSet');
    const spec: PodSpec = podOf(set);
    await this.plane.make(PODS, {
      metadata: { name, labels: set.spec?.template?.metadata.labels },
      spec: { ...spec, nodeName: node },
    });
    const [agent] = spec.containers;
    await this.changePod(name, {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      containerStatuses: [{ name: agent?.name, image: agent?.image, imageID: '', ready, restartCount: 0 }],
    });
  }

  async changePod(name: string, status: object): Promise<void> {
    await this.plane.change(`${PODS}/${name}/status`, { status });
  }

  /** Marks it as terminating; it stays. */
  async endPod(name: string): Promise<void> {
    await this.plane.remove(`${PODS}/${name}`);
  }

  async removePod(name: string): Promise<void> {
    await this.plane.remove(`${PODS}/${name}`, 0);
  }

  /** Deletes all pods and Nodes. */
  async clear(): Promise<void> {
    await this.plane.remove(PODS, 0);
    await this.plane.remove(NODES, 0);
  }
}

/** @throws Error for an unknown kind */
export function collection(kind: string): string {
  const path = COLLECTIONS[kind];
  if (path === undefined) throw new Error(`where is a ${kind}?`);
  return path;
}
