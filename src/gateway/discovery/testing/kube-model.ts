/**
 * A model of an API server's pods and Nodes: how it lists and watches them, with versions, pages, bookmarks, a
 * compacted history, and the ways in which watches go wrong. It has no transport of its own.
 */
export interface KubeObject {
  metadata: { name: string; uid?: string; resourceVersion?: string; labels?: Record<string, string> } & Record<
    string,
    unknown
  >;
  [key: string]: unknown;
}

export type Collection = 'pods' | 'nodes';

export interface Refusal {
  status: number;
  message?: string;
  /** Seconds, as in the header. */
  retryAfter?: number;
}

/** A watch in progress: everything sent to it goes to its listener, from the first event on. */
export class Watch {
  readonly collection: Collection;
  readonly selector: string;
  /** Nothing that is sent arrives any more, as when the machine behind the connection is gone. */
  frozen = false;
  #listener: ((text: string | null) => void) | null = null;
  #waiting: (string | null)[] = [];

  constructor(collection: Collection, selector: string) {
    this.collection = collection;
    this.selector = selector;
  }

  /** Null marks the end. */
  listen(listener: (text: string | null) => void): void {
    this.#listener = listener;
    for (const text of this.#waiting.splice(0)) listener(text);
  }

  send(text: string | null): void {
    if (this.frozen) return;
    if (this.#listener === null) this.#waiting.push(text);
    else this.#listener(text);
  }
}

export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string;
  /** Instead of the body. */
  watch: Watch | null;
}

interface Change {
  version: number;
  collection: Collection;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: KubeObject;
}

export class KubeModel {
  readonly watches = new Set<Watch>();
  /** Requests received: collection and query. */
  readonly asked: { collection: Collection; query: Record<string, string> }[] = [];
  /** Answers in place of the server. */
  refuse: (collection: Collection, query: Record<string, string>) => Refusal | null = () => null;
  /** How a watch learns that its version is too old. */
  goneAs: 'status' | 'event' = 'event';
  #version = 100;
  /** Versions below this are forgotten. */
  #floor = 0;
  #changes: Change[] = [];
  readonly #objects: Record<Collection, Map<string, KubeObject>> = { pods: new Map(), nodes: new Map() };

  all(collection: Collection): KubeObject[] {
    return [...this.#objects[collection].values()];
  }

  put(collection: Collection, object: KubeObject): void {
    const objects = this.#objects[collection];
    const { name } = object.metadata;
    const before = objects.get(name);
    const uid = object.metadata.uid ?? before?.metadata.uid ?? crypto.randomUUID();
    if (before !== undefined && before.metadata.uid !== uid) this.delete(collection, name);
    const stored = { ...object, metadata: { ...object.metadata, uid, resourceVersion: this.#next() } };
    const type = objects.has(name) ? 'MODIFIED' : 'ADDED';
    objects.set(name, stored);
    this.#notify(collection, type, stored);
  }

  delete(collection: Collection, name: string): void {
    const object = this.#objects[collection].get(name);
    if (object === undefined) return;
    this.#objects[collection].delete(name);
    const last = { ...object, metadata: { ...object.metadata, resourceVersion: this.#next() } };
    this.#notify(collection, 'DELETED', last);
  }

  /**
   * Compacts the history: a watch from any earlier version, and the next page of a list, are told that it is too old.
   */
  compact(): void {
    this.#next();
    this.#floor = this.#version;
    this.#changes = [];
  }

  bookmark(): void {
    for (const watch of this.watches) {
      const object = { metadata: { resourceVersion: String(this.#version), creationTimestamp: null } };
      watch.send(line({ type: 'BOOKMARK', object }));
    }
  }

  /** Sends the text as it is to all watches. */
  say(text: string): void {
    for (const watch of this.watches) watch.send(text);
  }

  /** Sends an ERROR event to all watches, after which the server ends them. */
  error(code: number, message = 'an error of the test'): void {
    this.say(line({ type: 'ERROR', object: status(code, message) }));
    this.endWatches();
  }

  endWatches(): void {
    for (const watch of [...this.watches]) {
      this.watches.delete(watch);
      watch.send(null);
    }
  }

  /** Sends the last changes once more. */
  repeat(): void {
    for (const watch of this.watches) {
      const mine = this.#changes.filter(({ collection }) => collection === watch.collection);
      for (const change of mine.slice(-2)) watch.send(line({ type: change.type, object: change.object }));
    }
  }

  request(path: string, query: Record<string, string>): Reply {
    const collection = collectionOf(path);
    if (collection === null) return refusal({ status: 404, message: `no such path ${path}` });
    this.asked.push({ collection, query });
    const refused = this.refuse(collection, query);
    if (refused !== null) return refusal(refused);
    return query['watch'] === undefined ? this.#list(collection, query) : this.#watch(collection, query);
  }

  #list(collection: Collection, query: Record<string, string>): Reply {
    const matching = this.all(collection).filter((object) => matches(object, query['labelSelector'] ?? ''));
    const limit = Number(query['limit'] ?? matching.length);
    const [version = String(this.#version), from = '0'] = (query['continue'] ?? '').split(':').filter(Boolean);
    if (Number(version) < this.#floor)
      return refusal({ status: 410, message: 'The provided continue parameter is too old' });
    const end = Number(from) + limit;
    const metadata = {
      resourceVersion: version,
      ...(end < matching.length ? { continue: `${version}:${end}`, remainingItemCount: matching.length - end } : {}),
    };
    return ok(JSON.stringify({ kind: 'List', apiVersion: 'v1', metadata, items: matching.slice(Number(from), end) }));
  }

  #watch(collection: Collection, query: Record<string, string>): Reply {
    const from = Number(query['resourceVersion']);
    const watch = new Watch(collection, query['labelSelector'] ?? '');
    if (from < this.#floor) {
      const gone = { status: 410, message: `too old resource version: ${from} (${this.#floor})` };
      if (this.goneAs === 'status') return refusal(gone);
      watch.send(line({ type: 'ERROR', object: status(410, gone.message) }));
      watch.send(null);
      return { ...ok(''), watch };
    }
    this.watches.add(watch);
    for (const change of this.#changes) if (change.version > from) this.#send(watch, change);
    return { ...ok(''), watch };
  }

  #next(): string {
    return String((this.#version += 1));
  }

  #notify(collection: Collection, type: Change['type'], object: KubeObject): void {
    const change = { version: this.#version, collection, type, object };
    this.#changes.push(change);
    for (const watch of this.watches) this.#send(watch, change);
  }

  #send(watch: Watch, { collection, type, object }: Change): void {
    if (watch.collection === collection && matches(object, watch.selector)) watch.send(line({ type, object }));
  }
}

const line = (event: object): string => `${JSON.stringify(event)}\n`;
const ok = (body: string): Reply => ({ status: 200, headers: {}, body, watch: null });

const status = (code: number, message: string): object => ({
  kind: 'Status',
  apiVersion: 'v1',
  status: 'Failure',
  message,
  code,
});

const refusal = ({ status: code, message = 'refused by the test', retryAfter }: Refusal): Reply => ({
  status: code,
  headers: retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) },
  body: JSON.stringify(status(code, message)),
  watch: null,
});

function collectionOf(path: string): Collection | null {
  if (path === '/api/v1/nodes') return 'nodes';
  return /^\/api\/v1\/namespaces\/[^/]+\/pods$/.test(path) ? 'pods' : null;
}

/** `key=value` pairs only. */
function matches(object: KubeObject, selector: string): boolean {
  const pairs = selector.split(',').filter((pair) => pair !== '');
  return pairs.every((pair) => {
    const [key = '', value] = pair.split('=');
    return object.metadata.labels?.[key] === value;
  });
}
