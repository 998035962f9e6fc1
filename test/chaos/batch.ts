/** Many sandboxes in one create under a key, sent to one gateway after the other, then all deleted. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import * as z from 'zod';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { Service } from './posted.ts';
import { attempt, type Outcome } from './rollout.ts';

const Made = z.object({ sandboxes: z.array(z.object({ id: z.string(), status: z.string() })) });
const One = z.object({ status: z.string() });

const ASK_MS = 15_000;
const PATIENCE_MS = 90_000;
const PAUSE_MS = 200;
/** Longer than any batch takes: sandboxes that could not be deleted do not occupy their places for ever. */
const LIFETIME_MS = 360_000;

/** Sends the same batch three times under one key, which must return the same sandboxes; all must end when deleted. */
export async function batch(service: Service, count: number, labels: Record<string, string>): Promise<Outcome> {
  const key = randomUUID();
  const outcome: Outcome = {
    name: `batch ${key}`,
    sandboxes: [],
    calls: [],
    commands: 0,
    checked: false,
    failures: [],
    wrong: [],
  };
  const body = { count, memoryMb: 64, timeoutMs: LIFETIME_MS, labels };
  const made = new Set<string>();
  outcome.checked = true;
  for (let first = 0; first < 3; first++) {
    const batch = await attempt(outcome, 'batch', async () =>
      Made.parse(await answered(service, first, 'POST', '/v1/sandboxes', { body, key })),
    );
    if (batch === undefined) {
      outcome.checked = false;
      break;
    }
    const ids = batch.sandboxes.map(({ id }) => id);
    if (new Set(ids).size !== count) outcome.wrong.push(`${key}: ${ids.length} sandboxes for a batch of ${count}`);
    if (first > 0 && ids.some((id) => !made.has(id))) outcome.wrong.push(`${key}: others than the first time`);
    for (const id of ids) made.add(id);
  }
  for (const id of made) {
    const gone = await attempt(outcome, 'delete of a batch', async () =>
      One.parse(await answered(service, 0, 'DELETE', `/v1/sandboxes/${id}`)),
    );
    if (gone === undefined || /^(TERMINATED|ERROR|TIMEOUT)$/.test(gone.status)) continue;
    outcome.wrong.push(`${id}: deleted, and ${gone.status}`);
  }
  outcome.sandboxes.push(...made);
  return outcome;
}

/**
 * Tries gateway after gateway, until one gives an answer that a retry would not change.
 * @throws ServiceError as the service answered; `node_unavailable` if none did
 */
async function answered(
  service: Service,
  first: number,
  method: 'POST' | 'DELETE',
  path: string,
  asking: { body?: object; key?: string } = {},
): Promise<unknown> {
  const end = performance.now() + PATIENCE_MS;
  for (let tries = first; ; tries++) {
    const url = service.urls[tries % service.urls.length] ?? '';
    const answer = await ask(`${url}${path}`, service.apiKey, method, asking);
    if (!(answer instanceof ServiceError)) return answer;
    // A call that was cut may be repeated: it has a key, or is a delete.
    const again = answer.retryable || answer.code === 'interrupted';
    if (!again || performance.now() > end) throw answer;
    await sleep(PAUSE_MS);
  }
}

async function ask(
  url: string,
  apiKey: string,
  method: 'POST' | 'DELETE',
  { body, key }: { body?: object; key?: string },
): Promise<unknown> {
  let json: unknown;
  try {
    const response = await request(url, {
      method,
      headers: {
        authorization: `Bearer ${apiKey}`,
        connection: 'close',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(key === undefined ? {} : { 'idempotency-key': key }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ASK_MS),
    });
    json = await response.body.json();
  } catch (error) {
    return new ServiceError('node_unavailable', undefined, { cause: error });
  }
  const { error } = json as { error?: unknown };
  return error === undefined ? json : ServiceError.fromWire(error);
}
