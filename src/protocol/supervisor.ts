/**
 * The protocol between agent and boxinit: frames over the sandbox's unix socket. The agent opens every stream.
 * Everything that boxinit sends is untrusted: the agent checks it with these schemas.
 */
import * as z from 'zod';
import { ExecExit } from './exec.ts';
import type { FileCall } from './files.ts';

export const SUPERVISOR_GENERATION = 1;

/** boxinit's HELLO. The token proves that this is the container that the agent started. */
export const SupervisorHello = z.object({
  generation: z.int(),
  token: z.string().max(256),
  version: z.string().max(64),
  pid: z.int(),
  /** Whether this container still waits for its image (runtime `oci`). */
  blank: z.boolean(),
  /** Whether it configures its own network interface at a claim. */
  cards: z.boolean().optional(),
});
export type SupervisorHello = z.infer<typeof SupervisorHello>;

/** The agent's HELLO, sent in answer. */
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
  /**
   * The complete environment: boxinit adds PATH and HOME where they are missing, and MILLIBOX_EXEC_ID, by which it
   * finds stray processes.
   */
  env: Record<string, string>;
  cwd: string;
  user?: string;
  stdin: boolean;
  pty?: { cols: number; rows: number };
  timeoutMs?: number;
  killGraceMs: number;
  ringBytes: number;
  /** How long to keep running with nobody attached; then killed. */
  detachedMs: number;
  background?: boolean;
}

/**
 * OPENED payload of `exec`. `adopted`: this id has run before; its output continues from the start, its stdin from
 * `stdinBytes`.
 */
export const SupervisorExecOpened = z.object({
  pid: z.int(),
  adopted: z.boolean().optional(),
  stdinBytes: z.int().optional(),
});

/** OPEN payload: continue an exec's streams. OPENED gives the offset of its stdin. */
export interface SupervisorAttach {
  op: 'attach';
  id: string;
  stdout: number;
  stderr: number;
}
export const SupervisorAttachOpened = z.object({ pid: z.int(), stdinBytes: z.int() });

/**
 * OPEN payload: list what is running, and what has exited but was not acknowledged. Answered in OPENED; no stream
 * follows.
 */
interface SupervisorList {
  op: 'list';
  /** Only these. Older versions of boxinit list all. */
  ids?: string[];
}
export const SupervisorListOpened = z.object({
  execs: z.array(
    z.object({
      id: z.string(),
      running: z.boolean(),
      background: z.boolean(),
      /** Whether a reader is attached. Older versions of boxinit do not report it. */
      attached: z.boolean().optional(),
      startedAtMs: z.number(),
      stdoutBytes: z.int(),
      stderrBytes: z.int(),
      /** Once it has exited. */
      exit: ExecExit.optional(),
    }),
  ),
  /** More execs have ended than the answer holds. Older versions of boxinit do not report it. */
  more: z.boolean().default(false),
});

/** OPEN payload: signal an exec without a stream to it. */
interface SupervisorSignal {
  op: 'signal';
  id: string;
  signal: string;
  all?: boolean;
  /** It has exited and was acknowledged: with `all`, this signals what it left running. */
  ended?: boolean;
}

/** OPEN payload: a file call. */
type SupervisorFile = {
  op: 'file';
  /** Base of relative paths. */
  workdir?: string;
  /** Owner of what the call creates, unless the call names one. Existing files keep their own. */
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
