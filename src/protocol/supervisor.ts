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
export type SupervisorExec = {
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
};

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
export type SupervisorAttach = {
  op: 'attach';
  id: string;
  stdout: number;
  stderr: number;
};
export const SupervisorAttachOpened = z.object({ pid: z.int(), stdinBytes: z.int() });

/**
 * OPEN payload: list what is running, and what has exited but was not acknowledged. Answered in OPENED; no stream
 * follows.
 */
type SupervisorList = {
  op: 'list';
  /** Only these. Older versions of boxinit list all. */
  ids?: string[];
};
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
type SupervisorSignal = {
  op: 'signal';
  id: string;
  signal: string;
  all?: boolean;
  /** It has exited and was acknowledged: with `all`, this signals what it left running. */
  ended?: boolean;
};

/** OPEN payload: a file call. */
type SupervisorFile = {
  op: 'file';
  /** Base of relative paths. */
  workdir?: string;
  /** Owner of what the call creates, unless the call names one. Existing files keep their own. */
  defaultOwner?: string;
} & FileCall;

/** OPEN payload: a tunnel to a port of the sandbox's loopback. */
type SupervisorPort = {
  op: 'port';
  port: number;
};

/** OPEN payload: give a blank its image (docs/adr/0006). Paths are as the blank sees them. */
export type SupervisorClaim = {
  op: 'claim';
  /** Read-only layers of the image, topmost first. */
  layers: string[];
  /** The overlay's own directories. */
  upper: string;
  work: string;
  hostname: string;
  /** Created if the image does not have it. Empty: none. */
  workdir?: string;
  /** Small files to write, such as /etc/hosts. */
  files?: { path: string; text: string }[];
  /** The network interface to set up; only for a boxinit whose HELLO says `cards`. */
  card?: { name: string; address: string; prefix: number; gateway: string };
};

/** OPEN payload: bound the number of processes, where no cgroup does. */
type SupervisorLimit = {
  op: 'limit';
  processes: number;
};

/** What the agent asks of boxinit. Type aliases, not interfaces, which are no `Json` to the compiler. */
export type SupervisorOpen =
  | SupervisorExec
  | SupervisorAttach
  | SupervisorList
  | SupervisorSignal
  | SupervisorFile
  | SupervisorPort
  | SupervisorClaim
  | SupervisorLimit;

export type SupervisorExit = { type: 'exit' } & ExecExit;
