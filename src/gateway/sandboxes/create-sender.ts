/**
 * Sends creates to nodes. All that are decided within one turn of the event loop, such as the sandboxes of a batch, go
 * to a node in one message, which holds the fields they have in common only once.
 */
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { ServiceError } from '../../protocol/errors.ts';
import { MAX_CONTROL_BYTES, MAX_CREATE_COUNT } from '../../protocol/limits.ts';
import {
  pendingRecord,
  type CreateGroup,
  type NodeHello,
  type SandboxRecord,
  type SandboxSpec,
} from '../../protocol/node.ts';
import type { Node } from '../nodes/node.ts';
import { parseRecord } from '../nodes/watch.ts';

interface Create {
  spec: SandboxSpec;
  done: PromiseWithResolvers<SandboxRecord>;
}

export interface CreateSenderOptions {
  /** Same clock as the times in a spec. */
  now: () => number;
  /** The record that the node's watch has already sent, if any. */
  known: (node: Node, id: string) => SandboxRecord | undefined;
}

const DEADLINE_MS = 15_000;
/** JSON overhead of the message around its groups, and of a group around its spec and ids. */
const FRAME_BYTES = 256;
const QUOTES_BYTES = 3;

const Answer = z.object({
  refused: z
    .array(z.object({ ids: z.array(z.string()).max(MAX_CREATE_COUNT), error: z.unknown() }))
    .max(MAX_CREATE_COUNT),
});

export class CreateSender {
  readonly #options: CreateSenderOptions;
  readonly #pending = new Map<Node, Create[]>();
  /** Agents (by their HELLO) that do not know `createMany`. */
  readonly #plain = new WeakSet<NodeHello>();

  constructor(options: CreateSenderOptions) {
    this.#options = options;
  }

  /**
   * Resolves with the latest record once the node has accepted the sandbox.
   * @throws ServiceError the node's refusal, or the failure of the link.
   */
  send(node: Node, spec: SandboxSpec): Promise<SandboxRecord> {
    const create: Create = { spec, done: Promise.withResolvers() };
    const pending = this.#pending.get(node);
    if (pending !== undefined) pending.push(create);
    else {
      this.#pending.set(node, [create]);
      queueMicrotask(() => this.#flush(node));
    }
    return create.done.promise;
  }

  #flush(node: Node): void {
    const creates = this.#pending.get(node) ?? [];
    this.#pending.delete(node);
    const sentAtMs = this.#options.now();
    for (const create of creates) create.spec = { ...create.spec, sentAtMs };
    const plain = creates.length === 1 || (node.hello !== null && this.#plain.has(node.hello));
    if (plain) for (const create of creates) void this.#sendOne(node, create);
    else for (const message of messagesOf(creates)) void this.#sendMany(node, message);
  }

  /** Never rejects. */
  async #sendOne(node: Node, { spec, done }: Create): Promise<void> {
    try {
      done.resolve(parseRecord(await node.call({ op: 'create', spec }, DEADLINE_MS), spec.id));
    } catch (error) {
      done.reject(error);
    }
  }

  /** Never rejects. */
  async #sendMany(node: Node, { creates, groups }: Message): Promise<void> {
    const { hello } = node;
    let refused: Map<string, unknown>;
    try {
      refused = refusals(await node.call({ op: 'createMany', groups }, DEADLINE_MS));
    } catch (thrown) {
      const error = ServiceError.from(thrown);
      if (error.code === 'not_supported') {
        if (hello !== null) this.#plain.add(hello);
        for (const create of creates) void this.#sendOne(node, create);
      } else for (const { done } of creates) done.reject(error);
      return;
    }
    for (const { spec, done } of creates) {
      const refusal = refused.get(spec.id);
      // The node's watch reports accepted sandboxes, or has done so already.
      if (refusal === undefined) done.resolve(this.#options.known(node, spec.id) ?? pendingRecord(spec));
      else done.reject(ServiceError.fromWire(refusal));
    }
  }
}

interface Message {
  creates: Create[];
  groups: CreateGroup[];
}

/** One message, or several where one would exceed the size of a frame. */
function messagesOf(creates: readonly Create[]): Message[] {
  const messages: Message[] = [];
  let message: Message | undefined;
  let bytes = 0;
  for (const create of creates) {
    const { spec } = create;
    const idBytes = spec.id.length + QUOTES_BYTES;
    let group = message?.groups.at(-1);
    if (
      message !== undefined &&
      group !== undefined &&
      alike(group.spec, spec) &&
      bytes + idBytes <= MAX_CONTROL_BYTES
    ) {
      bytes += idBytes;
    } else {
      const groupBytes = FRAME_BYTES + Buffer.byteLength(JSON.stringify(spec)) + idBytes;
      if (message === undefined || bytes + groupBytes > MAX_CONTROL_BYTES) {
        messages.push((message = { creates: [], groups: [] }));
        bytes = FRAME_BYTES;
      }
      message.groups.push((group = { spec, ids: [] }));
      bytes += groupBytes;
    }
    group.ids.push(spec.id);
    message.creates.push(create);
  }
  return messages;
}

/** Whether two specs differ only in their ids. */
function alike(a: SandboxSpec, b: SandboxSpec): boolean {
  return (Object.keys(a) as (keyof SandboxSpec)[]).every(
    (key) => key === 'id' || a[key] === b[key] || (typeof a[key] === 'object' && isDeepStrictEqual(a[key], b[key])),
  );
}

function refusals(message: unknown): Map<string, unknown> {
  const parsed = Answer.safeParse(message);
  if (!parsed.success) throw new ServiceError('protocol_error', 'the answer of the agent to a batch cannot be read');
  return new Map(parsed.data.refused.flatMap(({ ids, error }) => ids.map((id): [string, unknown] => [id, error])));
}
