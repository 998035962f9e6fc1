/** Images on the nodes: listing, pulling ahead of need, importing, removing. */
import { withDeadline } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { IMPORT_DEADLINE_MS, PULL_DEADLINE_MS } from '../../protocol/node.ts';
import { ByteStream } from '../streams/bytes.ts';
import type { NodeRegistry } from '../nodes/registry.ts';

export interface ImageOnNodes {
  image: string;
  nodes: string[];
}

export interface NodeOutcome {
  node: string;
  ok: boolean;
  error: { code: string; message: string } | null;
}

export interface PullOutcome extends NodeOutcome {
  /** Whether the name now refers to another image; null if the pull failed, or from an older agent. */
  changed: boolean | null;
}

const REMOVE_DEADLINE_MS = 5 * 60_000;

export class ImageService {
  readonly #registry: NodeRegistry;

  constructor(registry: NodeRegistry) {
    this.#registry = registry;
  }

  list(): ImageOnNodes[] {
    const found = new Map<string, string[]>();
    for (const node of this.#registry.all) {
      if (!node.up) continue;
      for (const image of node.report?.images ?? []) {
        const nodes = found.get(image);
        if (nodes === undefined) found.set(image, [node.name]);
        else nodes.push(node.name);
      }
    }
    return [...found].map(([image, nodes]) => ({ image, nodes })).sort((a, b) => (a.image < b.image ? -1 : 1));
  }

  /**
   * Pulls the image onto every connected node; with `refresh` also where the tag already exists, as it may have moved.
   * Resolves with the outcome on each.
   */
  async preload(image: string, { refresh }: { refresh: boolean }): Promise<PullOutcome[]> {
    const changed = new Map<string, boolean | null>();
    const all = await this.#onAll(async (node) => {
      changed.set(node.name, await pull(node, image, refresh));
    });
    return all.map((outcome) => ({ ...outcome, changed: changed.get(outcome.node) ?? null }));
  }

  /**
   * Removes the image from every node that has it. Resolves with the outcome on each.
   * @throws ServiceError `image_not_found` when none has it.
   */
  async remove(image: string): Promise<NodeOutcome[]> {
    const all = await this.#onAll(async (node) => {
      await node.call({ op: 'image-remove', image }, REMOVE_DEADLINE_MS);
    });
    const there = all.filter(({ error }) => error?.code !== 'image_not_found');
    if (there.length === 0) throw new ServiceError('image_not_found', 'no node has this image');
    return there;
  }

  /**
   * Imports an archive on one node, under this name. Resolves with the image's id.
   * @throws ServiceError `not_found` without such a node, or as the node refused.
   */
  async import(
    name: string,
    image: string,
    source: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<{ id: string }> {
    const node = this.#registry.all.find((each) => each.name === name && each.up);
    if (node === undefined) throw new ServiceError('not_found', 'there is no such node, or it is not connected');
    const stream = new ByteStream(node, { op: 'image-import', image });
    const leave = (): void => stream.cancel();
    signal.addEventListener('abort', leave, { once: true });
    try {
      await stream.write(source);
      const limit = { signal, deadlineMs: IMPORT_DEADLINE_MS, what: 'the import of an image' };
      const done = await withDeadline(limit, () => stream.done);
      return { id: String(done?.['id'] ?? '') };
    } catch (error) {
      stream.cancel();
      throw error;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  async #onAll(work: (node: Node) => Promise<void>): Promise<NodeOutcome[]> {
    const nodes = this.#registry.all.filter((node) => node.up);
    if (nodes.length === 0) throw new ServiceError('node_unavailable', 'no node is connected');
    return await Promise.all(
      nodes.map(async (node) => {
        try {
          await work(node);
          return { node: node.name, ok: true, error: null };
        } catch (thrown) {
          const { code, message } = ServiceError.from(thrown);
          return { node: node.name, ok: false, error: { code, message } };
        }
      }),
    );
  }
}

type Node = NodeRegistry['all'][number];

/** Resolves with whether the name now refers to another image on the node; null: the agent does not say. */
function pull(node: Node, image: string, refresh: boolean): Promise<boolean | null> {
  const done = Promise.withResolvers<boolean | null>();
  let changed: boolean | null = null;
  const stream = node.open(
    { op: 'image-pull', image, refresh },
    {
      event: (message) => {
        if (message['type'] === 'done') changed = message['changed'] === true;
      },
      fin: () => stream.end(),
      closed: (error) => {
        clearTimeout(timer);
        if (error === null) done.resolve(changed);
        else done.reject(error);
      },
    },
  );
  const timer = setTimeout(() => {
    stream.reset(new ServiceError('deadline_exceeded', `the pull took more than ${PULL_DEADLINE_MS} ms`));
  }, PULL_DEADLINE_MS);
  return done.promise;
}
