/**
 * Talks to the API server. The library handles what is specific to Kubernetes (kubeconfig, service accounts, client
 * certificates, credential plugins). Requests are made here, so that each can be aborted at any moment and its response
 * is bounded. The library is loaded only when the first session is opened, because it takes 75 MB.
 */
import type { RequestContext as Context } from '@kubernetes/client-node';
import { Agent, request, type Dispatcher } from 'undici';
import { statusError, type KubeError } from './errors.ts';
import { textOf } from './wire.ts';

/** One session: the current credentials, and its own connections, which end with it. */
export interface KubeSession extends AsyncDisposable {
  /** The namespace of the service account, or of the kubeconfig's context. */
  readonly namespace: string;
  /**
   * The body of a response with status 200. The caller must read it to the end or abort the signal.
   * @throws KubeError for any other status, or the error of the connection.
   */
  get(path: string, query: Record<string, string>, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

export type OpenSession = () => Promise<KubeSession>;

/** The rest of a larger error body is dropped. */
const MAX_ERROR_BYTES = 64 * 1024;
const DEFAULT_NAMESPACE = 'default';

/**
 * @param configFile a kubeconfig; null: the service account of this pod.
 * @throws Error when there are no credentials
 */
export async function openSession(configFile: string | null): Promise<KubeSession> {
  const { KubeConfig, RequestContext, HttpMethod } = await import('@kubernetes/client-node');
  // Loaded again for each session, because tokens, certificates and authorities are rotated.
  const config = new KubeConfig();
  if (configFile === null) config.loadFromCluster();
  else config.loadFromFile(configFile);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig has no current cluster');
  const server = cluster.server.replace(/\/+$/, '');
  let context: Context;
  try {
    // Outside of a pod there is not even an address.
    context = new RequestContext(server, HttpMethod.GET);
    await config.applySecurityAuthentication(context);
  } catch (error) {
    const hint = configFile === null ? ' (outside of a pod, MILLIBOX_KUBERNETES_CONFIG names a kubeconfig)' : '';
    throw new Error(`no credentials for the API server${hint}`, { cause: error });
  }
  const dispatcher = context.getDispatcher() ?? new Agent();
  const headers = { ...context.getHeaders(), accept: 'application/json' };
  return {
    namespace: config.getContextObject(config.getCurrentContext())?.namespace ?? DEFAULT_NAMESPACE,
    async get(path, query, signal) {
      const url = `${server}${path}?${new URLSearchParams(query).toString()}`;
      // No timeout here: the caller decides how long silence may last.
      const answer = await request(url, { dispatcher, headers, signal, headersTimeout: 0, bodyTimeout: 0 });
      if (answer.statusCode === 200) return answer.body;
      throw await errorOf(answer);
    },
    async [Symbol.asyncDispose]() {
      await dispatcher.destroy().catch(() => undefined);
    },
  };
}

async function errorOf({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<KubeError> {
  const seconds = Number(headers['retry-after']);
  const retryAfterMs = seconds > 0 ? seconds * 1_000 : null;
  return statusError(statusCode, await textOf(body, MAX_ERROR_BYTES).catch(() => ''), retryAfterMs);
}
