/**
 * The only stand-in of these tests: a model behind the OpenAI API. Its behaviour is in the question: `{ script: [[tool,
 * arguments], …], thinksMs? }`, one call per turn, and then a final answer.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

interface Message {
  role: string;
  content: string | { type: string; text?: string }[] | null;
  tool_call_id?: string;
}

interface Question {
  script: [string, object][];
  /** How long the first turn takes; absent: the server's default. */
  thinksMs?: number;
}

export interface ScriptedModelOptions {
  /** Resolves when the first turn of a rollout may be answered: the model's thinking time. */
  thinks?(): Promise<void>;
}

/** A tool call, from when it was sent until its result arrived. */
export interface Call {
  /** Within its rollout, from 0. */
  turn: number;
  /** Duration of its rollout's first turn, if set in the question. */
  thinksMs: number | undefined;
  /** `performance.now()` of this process. */
  sentAt: number;
  ms: number;
}

export class ScriptedModel implements AsyncDisposable {
  /** Those whose result has arrived, in that order. */
  readonly calls: Call[] = [];
  readonly #server: Server;
  readonly #thinks: () => Promise<void>;
  readonly #sent = new Map<string, Omit<Call, 'ms'>>();
  #ids = 0;

  private constructor({ thinks = () => Promise.resolve() }: ScriptedModelOptions) {
    this.#thinks = thinks;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
    });
  }

  static async start(options: ScriptedModelOptions = {}): Promise<ScriptedModel> {
    const model = new ScriptedModel(options);
    model.#server.listen(0, '127.0.0.1');
    await once(model.#server, 'listening');
    return model;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const cameAt = performance.now();
    const messages = await messagesOf(request);
    this.#note(messages.at(-1), cameAt);
    const { script, thinksMs } = JSON.parse(textOf(messages.find(({ role }) => role === 'user'))) as Question;
    const turn = messages.filter(({ role }) => role === 'tool').length;
    if (turn === 0) await (thinksMs === undefined ? this.#thinks() : sleep(thinksMs));
    const id = `call_${++this.#ids}`;
    const body = JSON.stringify(completion(id, script[turn]));
    this.#sent.set(id, { turn, thinksMs, sentAt: performance.now() });
    response.setHeader('content-type', 'application/json').end(body);
  }

  #note(last: Message | undefined, cameAt: number): void {
    const id = last?.tool_call_id ?? '';
    const call = this.#sent.get(id);
    if (call === undefined) return;
    this.#sent.delete(id);
    this.calls.push({ ...call, ms: cameAt - call.sentAt });
  }
}

async function messagesOf(request: IncomingMessage): Promise<Message[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return (JSON.parse(Buffer.concat(chunks).toString()) as { messages: Message[] }).messages;
}

/** One tool call, or the final answer. */
function completion(id: string, step: [string, object] | undefined): object {
  const message =
    step === undefined
      ? { role: 'assistant', content: 'done' }
      : {
          role: 'assistant',
          content: null,
          tool_calls: [{ id, type: 'function', function: { name: step[0], arguments: JSON.stringify(step[1]) } }],
        };
  return {
    id: `answer-${id}`,
    object: 'chat.completion',
    created: 1,
    model: 'scripted',
    choices: [{ index: 0, message, finish_reason: step === undefined ? 'stop' : 'tool_calls' }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  };
}

function textOf(message: Message | undefined): string {
  const content = message?.content ?? '';
  return typeof content === 'string' ? content : content.map((part) => part.text ?? '').join('');
}
