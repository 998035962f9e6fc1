/** Every bound of the wire and of the API, in one place, each with its reason. Sizes in bytes, times in milliseconds. */

/** Largest payload of one DATA frame: four scheduling quanta, so that a control frame never waits behind more. */
export const MAX_DATA_BYTES = 64 * 1024;
/** Largest payload of any other frame. An OPEN carries argv and env, which the kernel bounds to about this. */
export const MAX_CONTROL_BYTES = 1024 * 1024;
/** Credit of one stream in one direction. Returned when the consumer has taken the bytes. */
export const STREAM_WINDOW_BYTES = 256 * 1024;
/** Credit of the whole link in one direction. Returned on receipt: it bounds what is on the wire, and so latency. */
export const LINK_WINDOW_BYTES = 1024 * 1024;
/** Bytes that one stream may send before the next ready stream gets its turn. */
export const QUANTUM_BYTES = 16 * 1024;
/** Bytes handed to a socket and not yet called back. What is in the socket cannot be overtaken. */
export const MAX_IN_FLIGHT_BYTES = 256 * 1024;
/** Streams open at once on one link. */
export const MAX_STREAMS_PER_LINK = 16_384;

/** A link is pinged this often, and is dead when nothing at all arrived for the second figure. */
export const PING_INTERVAL_MS = 10_000;
export const LINK_DEAD_MS = 30_000;

/**
 * The same for the link between gateway and agent: both are ours, and callers wait for the sandboxes of a dead node.
 */
export const NODE_HEARTBEAT_MS = 3_000;
export const NODE_LINK_DEAD_MS = 12_000;
/** While bytes arrive, an unanswered heartbeat is tolerated this many times longer: a slow network delays it too. */
export const NODE_ANSWER_FACTOR = 2;

/** How long the last frame of a stream waits for others: an opener's FIN ALL after the responder's. */
export const LAZY_MS = 5;

/** Script text: it is sent as data, never as one argv entry, so the kernel's 128 KiB limit does not apply. */
export const MAX_SCRIPT_BYTES = 10 * 1024 * 1024;
/** A single argv or env entry (the kernel's MAX_ARG_STRLEN, less its terminating zero). */
export const MAX_ARG_BYTES = 128 * 1024 - 1;
/** Above this a script is handed to the shell as a file descriptor instead of an argument. */
export const MAX_INLINE_SCRIPT_BYTES = 96 * 1024;

/** Output kept for re-attachment, per exec and channel. */
export const DEFAULT_RING_BYTES = 1024 * 1024;
export const MAX_RING_BYTES = 16 * 1024 * 1024;
/** A blocking result keeps at most this much of each channel by default. */
export const DEFAULT_MAX_OUTPUT_BYTES = 4 * 1024 * 1024;
export const MAX_MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
/** stdin of a blocking exec over HTTP. A stream has no such limit. */
export const MAX_BLOCKING_STDIN_BYTES = 16 * 1024 * 1024;
/** Body of an HTTP request that is JSON: a script, plus its stdin in base64, plus the rest. */
export const MAX_JSON_BODY_BYTES = 40 * 1024 * 1024;

/** From TERM to KILL. */
export const DEFAULT_KILL_GRACE_MS = 2_000;
/** A stream whose client went away is kept this long for re-attachment, then killed. */
export const DETACHED_GRACE_MS = 60_000;
/** An exit nobody acknowledged is kept this long. */
export const EXIT_KEPT_MS = 3_600_000;
/** Longest timeout that may be asked for an exec or a sandbox: a week. */
export const MAX_TIMEOUT_MS = 7 * 24 * 3_600_000;
/** Timeout of a blocking exec by default. */
export const DEFAULT_EXEC_TIMEOUT_MS = 300_000;
/** Lifetime of a sandbox by default. */
export const DEFAULT_SANDBOX_LIFETIME_MS = 3_600_000;
/** Ended sandboxes can be looked up for this long. */
export const TOMBSTONE_KEPT_MS = 3_600_000;
/** Execs alive at once in one sandbox. */
export const MAX_EXECS_PER_SANDBOX = 512;
/** How long an agent holds back its answer about a running job. A gateway whose caller waits longer asks again. */
export const MAX_JOB_WAIT_MS = 10_000;

export const DEFAULT_CPUS = 1;
export const DEFAULT_MEMORY_MB = 512;
export const DEFAULT_PIDS_LIMIT = 512;
/** A smaller disk has no room for the metadata of its own file system. */
export const MIN_DISK_MB = 4;
/** What a sandbox may be limited to. */
export const LIMIT_BOUNDS = {
  cpus: { min: 0.01, max: 1_024 },
  memoryMb: { min: 16, max: 16 * 1024 * 1024 },
  diskMb: { min: MIN_DISK_MB, max: 16 * 1024 * 1024 },
  pidsLimit: { min: 8, max: 1_000_000 },
} as const;
export const MAX_CREATE_COUNT = 1_000;
/** Priorities range from minus this to this. */
export const MAX_PRIORITY = 1_000;
export const MAX_PAGE = 1_000;
export const MAX_LABELS = 64;
export const MAX_ENV_ENTRIES = 1_024;
