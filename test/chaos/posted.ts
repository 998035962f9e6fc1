/** A command over plain HTTP, repeated under its key, as by a caller that did not get the answer. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import * as z from 'zod';
import { ServiceError } from '../../src/protocol/errors.ts';

const Answer = z.object({ exitCode: z.int().nullable(), stdout: z.string() });
export type Answer = z.infer<typeof Answer>;

export interface Service {
  urls: readonly string[];
  apiKey: string;
}

const ASK_MS = 10_000;
const PATIENCE_MS = 60_000;
const PAUSE_MS = 200;

/**
 * Runs a command, and repeats the request once it is answered.
 * @returns both answers
 * @throws ServiceError as the service answered; `node_unavailable` if none did
 */
export async function postTwice(service: Service, sandbox: string, command: string): Promise<[Answer, Answer]> {
  const key = randomUUID();
  const post = async (): Promise<Answer> => await answered(service, sandbox, command, key);
  return [await post(), await post()];
}

/** Tries gateway after gateway, until one gives an answer that a retry would not change. */
async function answered(service: Service, sandbox: string, command: string, key: string): Promise<Answer> {
  const end = performance.now() + PATIENCE_MS;
  for (let tries = 0; ; tries++) {
    const url = service.urls[tries % service.urls.length] ?? '';
    const answer = await ask(`${url}/v1/sandboxes/${sandbox}/exec`, service.apiKey, command, key);
    if (!(answer instanceof ServiceError)) return answer;
    if (!answer.retryable || performance.now() > end) throw answer;
    await sleep(PAUSE_MS);
  }
}

async function ask(url: string, apiKey: string, command: string, key: string): Promise<Answer | ServiceError> {
  let body: unknown;
  try {
    const response = await request(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${apiKey}`,
        'content-type': 'application/json',
        'idempotency-key': key,
        connection: 'close',
      },
      body: JSON.stringify({ command }),
      signal: AbortSignal.timeout(ASK_MS),
    });
    body = await response.body.json();
  } catch (error) {
    return new ServiceError('node_unavailable', undefined, { cause: error });
  }
  const { error } = body as { error?: unknown };
  return error === undefined ? Answer.parse(body) : ServiceError.fromWire(error);
}
