/** Sessions with a model of an API server in the same process. */
import type { OpenSession } from '../kubernetes/client.ts';
import { statusError } from '../kubernetes/errors.ts';
import type { KubeModel, Watch } from './kube-model.ts';

export function memorySessions(model: KubeModel): OpenSession {
  return () =>
    Promise.resolve({
      namespace: 'sandboxes',
      async get(path, query, signal) {
        await Promise.resolve();
        signal.throwIfAborted();
        const { status, headers, body, watch } = model.request(path, query);
        if (status !== 200) throw statusError(status, body, Number(headers['retry-after'] ?? 0) * 1_000 || null);
        return watch === null ? once(body) : follow(model, watch, signal);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
}

async function* once(body: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(body);
}

async function* follow(model: KubeModel, watch: Watch, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const waiting: (string | null)[] = [];
  let wake = alarm();
  const onAbort = (): void => wake.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  watch.listen((text) => {
    waiting.push(text);
    wake.resolve();
  });
  try {
    for (;;) {
      for (const text of waiting.splice(0)) {
        if (text === null) return;
        yield Buffer.from(text);
      }
      signal.throwIfAborted();
      if (waiting.length === 0) await wake.promise;
      wake = alarm();
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    model.watches.delete(watch);
  }
}

function alarm(): PromiseWithResolvers<void> {
  const made = Promise.withResolvers<void>();
  // It may fire when nobody listens.
  made.promise.catch(() => undefined);
  return made;
}
