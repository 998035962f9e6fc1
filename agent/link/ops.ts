/** The operations of the node link: each `op` of src/protocol/node.ts and its handler. */
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import type { PerTurn } from '../../src/lib/per-turn.ts';
import { firstProblem } from '../../src/lib/schema-problems.ts';
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { SignalName } from '../../src/protocol/exec.ts';
import { MAX_CREATE_COUNT, MAX_JOB_WAIT_MS, MAX_TIMEOUT_MS } from '../../src/protocol/limits.ts';
import { CreateGroup, ReceivedEndReason, SandboxSpec } from '../../src/protocol/node.ts';
import { ImageRef } from '../../src/protocol/sandbox.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { ContainerRuntime } from '../runtime/runtime.ts';
import type { Intake } from '../sandboxes/intake.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import type { Sandboxes } from '../sandboxes/sandboxes.ts';
import { createMany } from './create-many.ts';
import { linkOf, listExecs } from './exec-list.ts';
import { importImage, pullImage, type ImageOpsDeps } from './image-ops.ts';
import { attachKind, execKind, fileKind, portKind, type ExecHooks } from './relay-kinds.ts';
import type { LinkRoom } from './link-room.ts';
import { relay } from './relay.ts';
import { watch, type FeedSource } from './watch.ts';

/**
 * Creates and deletes begun per turn of the event loop. Each writes files synchronously, and hundreds may arrive in one
 * chunk: calls of running sandboxes must not wait for the last of them.
 */
export const BEGUN_PER_TURN = 8;

interface OpsDeps {
  sandboxes: Sandboxes;
  /** Of creates and deletes alike: they are begun in the order in which they came. */
  turns: PerTurn;
  linkRoom: LinkRoom;
  jobs: Jobs;
  runtime: ContainerRuntime;
  feed: FeedSource;
  log: Logger;
  /** Uploaded archives are stored below it. */
  dataDir: string;
  /** Called when the set of images may have changed. Resolves once it is in the node's report. Never rejects. */
  imagesChanged(): Promise<void>;
  intake: Pick<Intake, 'cordon' | 'drain'>;
  execHooks: ExecHooks;
}

/** Module constants, because a schema is compiled on first use, which takes longer than the rest of a create. */
const Asked = {
  create: z.object({ spec: SandboxSpec }),
  createMany: z.object({ groups: z.array(CreateGroup).max(MAX_CREATE_COUNT) }),
  delete: z.object({ sandbox: z.string(), reason: ReceivedEndReason, message: z.string().max(1_000).optional() }),
  extend: z.object({ sandbox: z.string(), expiresAtMs: z.number(), sentAtMs: z.number().optional() }),
  execs: z.object({
    ids: z.array(z.string()).max(1_000).optional(),
    waitMs: z.number().min(0).max(MAX_JOB_WAIT_MS).optional(),
  }),
  signal: z.object({ id: z.string(), signal: SignalName, all: z.boolean().optional() }),
  image: z.object({ image: ImageRef }),
  pull: z.object({ image: ImageRef, refresh: z.boolean().optional() }),
  cordon: z.object({ on: z.boolean() }),
  drain: z.object({ on: z.boolean(), deadlineMs: z.number().min(0).max(MAX_TIMEOUT_MS).optional() }),
};

type Opener = (stream: MuxStream, deps: OpsDeps) => StreamHandler;

/** @throws ServiceError to refuse the stream with. */
export function openOp(stream: MuxStream, deps: OpsDeps): StreamHandler {
  const op = stream.request['op'];
  const opener = typeof op === 'string' && Object.hasOwn(OPENERS, op) ? OPENERS[op] : undefined;
  if (opener === undefined) throw new ServiceError('not_supported', 'this agent does not know that operation');
  return opener(stream, deps);
}

const OPENERS: Record<string, Opener> = {
  create: (stream, { sandboxes, turns }) => {
    const { spec } = parse(Asked.create, stream.request);
    return inTurn(stream, turns, () => {
      // Its gateway may have learned from the next link that it is not here, and sent it elsewhere.
      if (stream.closed) throw new ServiceError('cancelled');
      return sandboxes.create(spec).record;
    });
  },
  createMany: (stream, { sandboxes, turns }) => {
    const { groups } = parse(Asked.createMany, stream.request);
    return later(stream, async () => ({ ...(await createMany(sandboxes, groups, turns, () => !stream.closed)) }));
  },
  delete: (stream, { sandboxes, turns }) => {
    const { sandbox, reason, message } = parse(Asked.delete, stream.request);
    return inTurn(stream, turns, () => sandboxes.delete(sandbox, reason, message));
  },
  extend: (stream, { sandboxes }) => {
    const { sandbox, expiresAtMs, sentAtMs } = parse(Asked.extend, stream.request);
    return answer(stream, sandboxes.extend(sandbox, expiresAtMs, sentAtMs));
  },
  watch: (stream, { feed }) => watch(stream, feed),
  exec: (stream, deps) => {
    const sandbox = target(stream, deps);
    const { background, id } = stream.request;
    const isJob = background === true || deps.jobs.find(sandbox.id, id) !== undefined;
    if (isJob) return deps.jobs.exec(stream, sandbox, deps.sandboxes);
    return relay(stream, sandbox, deps.sandboxes, execKind(stream.request, deps.execHooks));
  },
  attach: (stream, deps) => {
    const sandbox = target(stream, deps);
    const job = deps.jobs.find(sandbox.id, stream.request['id']);
    if (job !== undefined) return deps.jobs.attach(stream, sandbox, job, deps.sandboxes);
    return relay(stream, sandbox, deps.sandboxes, attachKind(stream.request, deps.execHooks));
  },
  file: (stream, deps) => relay(stream, target(stream, deps), deps.sandboxes, fileKind(stream.request, deps.linkRoom)),
  port: (stream, deps) => relay(stream, target(stream, deps), deps.sandboxes, portKind(stream.request)),
  execs: (stream, deps) => {
    const { ids, waitMs = 0 } = parse(Asked.execs, stream.request);
    const sandbox = target(stream, deps);
    const job = ids?.length === 1 && waitMs > 0 ? ids[0] : undefined;
    const list = async (): Promise<Json> => {
      if (job !== undefined) await deps.jobs.whenOver(sandbox.id, job, waitMs);
      return { ...(await listExecs(sandbox, ids, () => deps.jobs.states(sandbox.id))) };
    };
    return later(stream, list, (answer) => deps.linkRoom.accept(stream, sandbox.record.tenant, answer));
  },
  signal: (stream, deps) => {
    const { id, signal, all } = parse(Asked.signal, stream.request);
    const sandbox = target(stream, deps);
    // boxinit may have forgotten a job that has ended, but it still finds processes the job left running.
    const ended = Boolean(deps.jobs.find(sandbox.id, id)?.state()?.exit);
    if (ended && !all) return answer(stream, {});
    return later(stream, async () => {
      await linkOf(sandbox)
        .call({ op: 'signal', id, signal, ...(all === undefined ? {} : { all }), ...(ended ? { ended } : {}) })
        .catch((error: unknown) => {
          // An older boxinit only looks among the commands it remembers.
          if (!ended || ServiceError.from(error).code !== 'exec_not_found') throw error;
        });
      return {};
    });
  },
  images: (stream, { runtime }) => later(stream, async () => ({ images: await runtime.images.list() })),
  'image-pull': (stream, deps) => pullImage(stream, parse(Asked.pull, stream.request), imageDeps(deps)),
  'image-remove': (stream, { runtime, imagesChanged }) => {
    const image = imageIn(stream);
    return later(stream, async () => {
      await runtime.images.remove(image);
      await imagesChanged();
      return {};
    });
  },
  'image-import': (stream, deps) => importImage(stream, imageIn(stream), imageDeps(deps)),
  cordon: (stream, { intake }) => {
    intake.cordon(parse(Asked.cordon, stream.request).on);
    return answer(stream, {});
  },
  drain: (stream, { intake }) => {
    const { on, deadlineMs } = parse(Asked.drain, stream.request);
    intake.drain(on, deadlineMs);
    return answer(stream, {});
  },
};

function target(stream: MuxStream, { sandboxes }: OpsDeps): Sandbox {
  const id = stream.request['sandbox'];
  if (typeof id !== 'string') throw new ServiceError('invalid_request', 'sandbox is missing');
  return sandboxes.get(id);
}

/** Answers at once, but not before the stream's handler is in place. */
function answer(stream: MuxStream, message: object): StreamHandler {
  queueMicrotask(() => {
    stream.accept({ ...message });
    stream.end();
  });
  return {};
}

/** Does the work and answers: at once, or in a later turn of the event loop. */
function inTurn(stream: MuxStream, turns: PerTurn, work: () => object): StreamHandler {
  if (turns.now()) return answer(stream, work());
  return later(stream, async () => {
    await turns.next();
    return { ...work() };
  });
}

/** Answers when `work` is done, or when `accept` has done so with its result. */
function later(
  stream: MuxStream,
  work: () => Promise<Json>,
  accept: (answer: Json) => Promise<void> | void = (answer) => stream.accept(answer),
): StreamHandler {
  queueMicrotask(() => {
    work()
      .then(async (message) => {
        const later = accept(message);
        if (later !== undefined) await later;
        stream.end();
      })
      .catch((error: unknown) => stream.refuse(ServiceError.from(error)));
  });
  return {};
}

const imageIn = ({ request }: MuxStream): string => parse(Asked.image, request).image;

const imageDeps = ({ runtime, dataDir, imagesChanged, log }: OpsDeps): ImageOpsDeps => {
  return { images: runtime.images, dataDir, changed: imagesChanged, log };
};

function parse<T>(schema: z.ZodType<T>, request: Json): T {
  const parsed = schema.safeParse(request);
  if (parsed.success) return parsed.data;
  throw new ServiceError('invalid_request', firstProblem(parsed.error));
}
