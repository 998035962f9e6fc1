/** Checks every JSON answer that a test gets against the OpenAPI document. */
import { isDeepStrictEqual } from 'node:util';
import { ERRORS, isErrorCode } from '../../protocol/errors.ts';
import type { Route } from '../http/route.ts';

/** The path of a route as a pattern: `/v1/images::preload` is one with a colon in it. */
function patternOf(url: string): RegExp {
  const parts = url.split('::').map((part) => part.replace(/:\w+/g, '[^/]+'));
  return new RegExp(`^${parts.join(':')}$`);
}

export class Documented {
  readonly #routes: readonly { method: string; pattern: RegExp; route: Route }[];

  constructor(routes: readonly Route[]) {
    this.#routes = routes.map((route) => ({ method: String(route.method), pattern: patternOf(route.url), route }));
  }

  /**
   * @param json undefined: the answer is no JSON
   * @throws Error that says how the answer differs from the document. Anything that is no route of the document is
   * ignored.
   */
  check(method: string, target: string, status: number, json: unknown): void {
    const [path = ''] = target.split('?', 1);
    const found = this.#routes.find((each) => each.method === method && each.pattern.test(path));
    if (found === undefined) return;
    const { id, answers } = found.route;
    if (status >= 400) return checkError(id, status, json);
    const answer = answers[status];
    if (answer === undefined) throw new Error(`${id} answered ${status}, which the document does not name`);
    if (answer.schema === undefined) return;
    const parsed = answer.schema.safeParse(json);
    if (!parsed.success) throw new Error(`${id} answered what the document does not: ${parsed.error.message}`);
    // The schema drops what it does not know.
    if (!isDeepStrictEqual(parsed.data, json)) {
      throw new Error(`${id} answers more than the document says: ${JSON.stringify(json)}`);
    }
  }
}

function checkError(id: string, status: number, json: unknown): void {
  const { error } = (json ?? {}) as { error?: { code?: unknown; message?: unknown; requestId?: unknown } };
  const code = error?.code;
  if (typeof code !== 'string' || !isErrorCode(code) || ERRORS[code].http !== status) {
    throw new Error(`${id} answered ${status} with what is no error of ours: ${JSON.stringify(json)}`);
  }
  if (typeof error?.message !== 'string' || typeof error.requestId !== 'string') {
    throw new Error(`${id} answered an error without a message or a request id`);
  }
}
