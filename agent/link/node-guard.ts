/**
 * Admits only gateways that hold the node secret. A challenge is stored only once it has been used. Ages are measured
 * on the monotonic clock, which nobody can set.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { checkGatewayAuthorization, sameText } from '../../src/lib/node-auth.ts';

const CHALLENGE_MS = 30_000;
const MAX_USED = 10_000;
/** Length of a SHA-256 in base64url. */
const SIGNATURE_LENGTH = 43;

export class NodeGuard {
  readonly #secret: string;
  readonly #key = randomBytes(32);
  /** Used challenges, until they are too old to be used again. */
  readonly #used = new Map<string, number>();

  constructor(secret: string) {
    this.#secret = secret;
  }

  challenge(): string {
    const text = `${randomBytes(12).toString('base64url')}_${Math.ceil(performance.now() + CHALLENGE_MS).toString(36)}`;
    return `${text}_${this.#sign(text)}`;
  }

  /** The gateway's nonce, if this header answers one of our fresh challenges for the first time. */
  admit(header: string | undefined): string | undefined {
    const proof = checkGatewayAuthorization(this.#secret, header);
    if (proof === undefined || !this.#isFresh(proof.challenge)) return undefined;
    this.#used.set(proof.challenge, performance.now() + CHALLENGE_MS);
    for (const [challenge, until] of this.#used) {
      if (until > performance.now() && this.#used.size <= MAX_USED) break;
      this.#used.delete(challenge);
    }
    return proof.nonce;
  }

  #isFresh(challenge: string): boolean {
    // The signature comes last and has a fixed length; the text before it may contain the separator.
    const text = challenge.slice(0, -(SIGNATURE_LENGTH + 1));
    const signature = challenge.slice(-SIGNATURE_LENGTH);
    if (!sameText(signature, this.#sign(text)) || this.#used.has(challenge)) return false;
    return Number.parseInt(text.slice(text.lastIndexOf('_') + 1), 36) > performance.now();
  }

  #sign(text: string): string {
    return createHmac('sha256', this.#key).update(text).digest('base64url');
  }
}
