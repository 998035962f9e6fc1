/** A command as one HTTP call, for networks without WebSockets. Its output arrives once it has ended. */
import { ExecResult } from '../../protocol/exec.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { DEFAULT_EXEC_TIMEOUT_MS, MAX_BLOCKING_STDIN_BYTES, MAX_MAX_OUTPUT_BYTES } from '../../protocol/limits.ts';
import { orAbort } from '../../lib/deadline.ts';
import { read } from '../answer.ts';
import { needsWebSocket } from '../errors.ts';
import type { HttpClient } from '../http.ts';
import { readSource, toBase64 } from '../source.ts';
import type { Command, ExecOptions } from './options.ts';
import type { ExecOutput } from './output.ts';
import type { Ended } from './result.ts';

interface HttpExec {
  http: HttpClient;
  sandbox: string;
  id: string;
  command: Command;
  options: ExecOptions;
  output: ExecOutput;
  signal: AbortSignal;
  /** Why no WebSocket is available. */
  why: ServiceError;
}

/** Added to the command's timeout for the sandbox to get ready and the answer to arrive. */
const SLACK_MS = 120_000;

/** @throws ServiceError */
export async function execOverHttp(call: HttpExec): Promise<Ended> {
  const { http, sandbox, id, command, options, output, signal } = call;
  const stdin = await orAbort(signal, allOfStdin(call));
  const answer = await http.json({
    method: 'POST',
    path: `/v1/sandboxes/${encodeURIComponent(sandbox)}/exec`,
    headers: { 'idempotency-key': id },
    idempotent: true,
    signal,
    deadlineMs: (options.timeoutMs ?? DEFAULT_EXEC_TIMEOUT_MS) + SLACK_MS,
    body: {
      ...(typeof command === 'string' ? { command } : { argv: command }),
      ...Object.fromEntries(
        (['cwd', 'env', 'user', 'shell', 'timeoutMs', 'killGraceMs'] as const)
          .filter((key) => options[key] !== undefined)
          .map((key) => [key, options[key]]),
      ),
      ...(stdin === undefined ? {} : { stdin: toBase64(stdin) }),
      encoding: 'base64',
      maxOutputBytes: Math.min(options.maxOutputBytes ?? MAX_MAX_OUTPUT_BYTES, MAX_MAX_OUTPUT_BYTES),
    },
  });
  const { queueMs, stdout, stderr, truncated, execId: _execId, ...exit } = read(ExecResult, answer);
  for (const [channel, text] of [
    ['stdout', stdout],
    ['stderr', stderr],
  ] as const) {
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length > 0) output.push(channel, bytes);
    if (truncated[channel]) output.lost(channel, bytes.length, exit[`${channel}Bytes`]);
  }
  return { exit, queueMs };
}

/** A source that never ends keeps the command from starting. */
async function allOfStdin({ options, signal, why }: HttpExec): Promise<Uint8Array | undefined> {
  const { stdin } = options;
  if (stdin === undefined || stdin === true) return undefined;
  const source = readSource(stdin);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of source instanceof Uint8Array ? [source] : source) {
    if (signal.aborted) return undefined;
    bytes += piece.length;
    if (bytes > MAX_BLOCKING_STDIN_BYTES) {
      const { message } = needsWebSocket(`more than ${MAX_BLOCKING_STDIN_BYTES} bytes of stdin`, why);
      throw new ServiceError('body_too_large', message, { cause: why });
    }
    chunks.push(Buffer.from(piece));
  }
  return Buffer.concat(chunks);
}
