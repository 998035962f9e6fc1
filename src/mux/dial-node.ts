/** Dialling an agent: the gateway's end of the node link. */
import { randomBytes } from 'node:crypto';
import { agentProof, gatewayAuthorization, sameText } from '../lib/node-auth.ts';
import { ServiceError } from '../protocol/errors.ts';
import { NODE_PATH, NODE_SUBPROTOCOL, NodeHello } from '../protocol/node.ts';
import type { Json, Transport } from './types.ts';
import { UpgradeRefused, dialWs } from './websocket/handshake.ts';

export interface DialNodeOptions {
  /** The secret that gateways and agents share. */
  secret: string;
  /** Until the link is up, over all requests. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
}

export interface DialledNode {
  transport: Transport;
  /**
   * For `MuxOptions.onHello`: checks that the agent holds the secret too. Send nothing before it has passed.
   * @throws ServiceError `unauthenticated`, `protocol_error`.
   */
  checkHello(hello: Json): NodeHello;
}

/**
 * Two requests: the first is answered by 401 and a challenge, the second proves the secret. A third follows if the
 * second is challenged again: an agent that started in between does not know its predecessor's challenge.
 * @param url `ws://host:port`, without a path, or `ws+unix:///path/of/socket`
 * @throws ServiceError `unauthenticated` if the peer holds another secret or is no agent, `node_unavailable` if it
 * refuses otherwise, `deadline_exceeded`; the signal's reason, or the socket's error. None contains what the peer sent:
 * it may be anything.
 */
export async function dialNode(url: string, options: DialNodeOptions): Promise<DialledNode> {
  const target = url.startsWith('ws+unix:') ? `${url}:${NODE_PATH}` : new URL(NODE_PATH, url).href;
  const until = performance.now() + options.deadlineMs;
  const dial = (headers: Record<string, string>): Promise<Transport> =>
    dialWs(target, {
      subprotocol: NODE_SUBPROTOCOL,
      headers,
      deadlineMs: Math.max(1, until - performance.now()),
      signal: options.signal,
      maskWithZeros: true,
    });
  const prove = async (challenge: string): Promise<DialledNode> => {
    const nonce = randomBytes(24).toString('base64url');
    const transport = await dial({ authorization: gatewayAuthorization(options.secret, challenge, nonce) });
    return { transport, checkHello: (hello) => checkHello(options.secret, nonce, hello) };
  };
  const challenge = await askForChallenge(dial);
  try {
    return await prove(challenge).catch((error: unknown) => {
      const next = challengeOf(error);
      if (next === undefined) throw error;
      return prove(next);
    });
  } catch (error) {
    throw explain(error, 'the agent has a different node secret than this gateway');
  }
}

async function askForChallenge(dial: (headers: Record<string, string>) => Promise<Transport>): Promise<string> {
  try {
    const transport = await dial({});
    transport.close();
  } catch (error) {
    const challenge = challengeOf(error);
    if (challenge !== undefined) return challenge;
    throw explain(error, 'the peer does not ask for the node secret: it is not an agent of this service');
  }
  throw new ServiceError(
    'unauthenticated',
    'the peer did not ask us to authenticate: it is not an agent of this service',
  );
}

/** @param unauthenticated what a 401 means */
function explain(error: unknown, unauthenticated: string): unknown {
  if (!(error instanceof UpgradeRefused)) return error;
  if (error.status === 401) return new ServiceError('unauthenticated', unauthenticated);
  return new ServiceError('node_unavailable', `the peer answered the WebSocket upgrade with ${error.status}`);
}

function challengeOf(refusal: unknown): string | undefined {
  if (!(refusal instanceof UpgradeRefused) || refusal.status !== 401) return undefined;
  try {
    const { error } = JSON.parse(refusal.body) as { error?: { details?: { challenge?: unknown } } };
    const challenge = error?.details?.challenge;
    return typeof challenge === 'string' && /^[\w-]{8,256}$/.test(challenge) ? challenge : undefined;
  } catch {
    return undefined;
  }
}

function checkHello(secret: string, nonce: string, message: Json): NodeHello {
  const parsed = NodeHello.safeParse(message);
  if (!parsed.success) throw new ServiceError('protocol_error', 'the agent sent a HELLO that cannot be read');
  const hello = parsed.data;
  if (!sameText(hello.proof, agentProof(secret, nonce, hello.node, hello.bootId))) {
    throw new ServiceError('unauthenticated', 'the agent does not hold the node secret');
  }
  return hello;
}
