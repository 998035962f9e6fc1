/**
 * How gateway and agent prove to each other that they hold the node secret, which itself never crosses the wire. The
 * gateway answers a challenge of the agent before the WebSocket handshake; the agent answers the gateway's nonce in its
 * HELLO, before the gateway sends anything. See docs/architecture.md, "The node link".
 */
import { createHmac, createHash, timingSafeEqual } from 'node:crypto';

const SCHEME = 'Millibox-Node';

/** Whether two texts are equal, in a time that does not reveal where they differ. */
export function sameText(a: string, b: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}

/** The role in each text keeps one side's proof from being replayed as the other's. */
const mac = (secret: string, ...parts: string[]): string =>
  createHmac('sha256', secret).update(JSON.stringify(parts)).digest('base64url');

/** The `Authorization` header of the gateway's upgrade request. `nonce` is the gateway's own, fresh for each link. */
export function gatewayAuthorization(secret: string, challenge: string, nonce: string): string {
  return `${SCHEME} ${challenge}.${nonce}.${mac(secret, 'gateway', challenge, nonce)}`;
}

/** The challenge and nonce of an `Authorization` header, if it was made with this secret. */
export function checkGatewayAuthorization(
  secret: string,
  header: string | undefined,
): { challenge: string; nonce: string } | undefined {
  const match = /^Millibox-Node ([\w-]{8,256})\.([\w-]{16,64})\.([\w-]{43})$/.exec(header ?? '');
  if (match === null) return undefined;
  const [, challenge = '', nonce = '', given = ''] = match;
  return sameText(given, mac(secret, 'gateway', challenge, nonce)) ? { challenge, nonce } : undefined;
}

/** The `proof` in the agent's HELLO. */
export function agentProof(secret: string, nonce: string, node: string, bootId: string): string {
  return mac(secret, 'agent', nonce, node, bootId);
}
