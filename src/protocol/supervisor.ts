/**
 * What agent and boxinit say to each other, as frames over the sandbox's unix socket. The agent opens every stream.
 * Everything that boxinit sends is untrusted: the agent checks it with these schemas.
 */
import * as z from 'zod';
import { ExecExit } from './exec.ts';
import type { FileCall } from './files.ts';

export const SUPERVISOR_GENERATION = 1;

/** boxinit's HELLO. The token is the proof that this is the container that the agent started. */
export const SupervisorHello = z.object({
  generation: z.int(),
  token: z.string().max(256),
  version: z.string().max(64),
  pid: z.int(),
  /** Whether this container still waits for its image (runtime `oci`). */
  blank: z.boolean(),
  /** Whether it sets up its own network card at a claim. */
  cards: z.boolean().optional(),
});
export type SupervisorHello = z.infer<typeof SupervisorHello>;

/** The agent's HELLO in answer. */
export interface AgentHello {
  generation: number;
}

/** OPEN payload: run a program. `argv` or `script` or `scriptBytes` (text follows on channel SCRIPT). */
export interface SupervisorExec {
  op: 'exec';
  id: string;
  argv?: string[];
  script?: string;
  scriptBytes?: number;
  shell?: 'sh' | 'bash';
  /** The whole environment: boxinit adds PATH and HOME where they are missing, and MILLIBOX_EXEC_ID, by which it finds strays. */
  env: Record<string, string>;
  cwd: string;
  user?: string;
  stdin: boolean;
  pty?: { cols: number; rows: number };
  timeoutMs?: number;
  killGraceMs: number;
  ringBytes: number;
  /** How long to go on with nobody attached; then killed. */
  detachedMs: number;
  background?: boolean;
}

/** OPENED payload of `exec`. `adopted`: this id ran before, its streams continue from their start, its stdin from `stdinBytes`. */
export const SupervisorExecOpened = z.object({
  pid: z.int(),
  adopted: z.boolean().optional(),
  stdinBytes: z.int().optional(),
});

/** OPEN payload: continue an exec's streams. OPENED says where its stdin stands. */
export interface SupervisorAttach {
  op: 'attach';
  id: string;
  stdout: number;
  stderr: number;
}
export const SupervisorAttachOpened = z.object({ pid: z.int(), stdinBytes: z.int() });

/** OPEN payload: what runs, and what exited and was not yet acknowledged. Answered in OPENED; no stream follows. */
interface SupervisorList {
  op: 'list';
  /** Only these. A boxinit of an earlier version lists all. */
  ids?: string[];
}
export const SupervisorListOpened = z.object({
  execs: z.array(
    z.object({
      id: z.string(),
      running: z.boolean(),
      background: z.boolean(),
      /** Somebody listens. A boxinit of an earlier version does not say. */
      attached: z.boolean().optional(),
      startedAtMs: z.number(),
      stdoutBytes: z.int(),
      stderrBytes: z.int(),
      /** Once it has exited. */
      exit: ExecExit.optional(),
    }),
  ),
  /** There are more that have ended than the answer holds. A boxinit of an earlier version does not say. */
  more: z.boolean().default(false),
});

/** OPEN payload: signal an exec with no stream of it at hand. */
interface SupervisorSignal {
  op: 'signal';
  id: string;
  signal: string;
  all?: boolean;
  /** It ran and was acknowledged: with `all`, what it has left running is meant. */
  ended?: boolean;
}

/** OPEN payload: a call on files. */
type SupervisorFile = {
  op: 'file';
  /** Where relative paths begin. */
  workdir?: string;
  /** Owner of what the call makes anew, unless the call names one. What exists keeps its own. */
  defaultOwner?: string;
} & FileCall;

/** OPEN payload: a tunnel to a port of the sandbox's loopback. */
interface SupervisorPort {
  op: 'port';
  port: number;
}

/** OPEN payload: give a blank its image. See docs/adr/0006. */
interface SupervisorClaim {
  op: 'claim';
  [key: string]: unknown;
}

export type SupervisorOpen =
  | SupervisorExec
  | SupervisorAttach
  | SupervisorList
  | SupervisorSignal
  | SupervisorFile
  | SupervisorPort
  | SupervisorClaim;

export type SupervisorExit = { type: 'exit' } & ExecExit;
