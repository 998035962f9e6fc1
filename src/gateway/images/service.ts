/** Images on the nodes: which are there, and bringing them there ahead of need. */
import { ServiceError } from '../../protocol/errors.ts';
import type { NodeRegistry } from '../nodes/registry.ts';

export interface ImageOnNodes {
  image: string;
  nodes: string[];
}

export interface Preload {
  node: string;
  ok: boolean;
  error: { code: string; message: string } | null;
}

const PULL_DEADLINE_MS = 15 * 60_000;

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

  /** Pulls onto every node that is there, and tells how it went on each. */
  async preload(image: string): Promise<Preload[]> {
    const nodes = this.#registry.all.filter((node) => node.up);
    if (nodes.length === 0) throw new ServiceError('node_unavailable', 'No node is there to pull it.');
    return Promise.all(
      nodes.map(async (node) => {
        try {
          await pull(node, image);
          return { node: node.name, ok: true, error: null };
        } catch (thrown) {
          const { code, message } = ServiceError.from(thrown);
          return { node: node.name, ok: false, error: { code, message } };
        }
      }),
    );
  }
}

function pull(node: NodeRegistry['all'][number], image: string): Promise<void> {
  const done = Promise.withResolvers<void>();
  const stream = node.open(
    { op: 'image-pull', image },
    {
      fin: () => stream.end(),
      closed: (error) => {
        clearTimeout(timer);
        if (error === null) done.resolve();
        else done.reject(error);
      },
    },
  );
  const timer = setTimeout(() => {
    stream.reset(new ServiceError('deadline_exceeded', `the pull took more than ${PULL_DEADLINE_MS} ms`));
  }, PULL_DEADLINE_MS);
  return done.promise;
}
