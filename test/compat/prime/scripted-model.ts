/**
 * The only stand-in of these tests: a model behind the API that OpenAI's clients speak. What it does is written in the
 * question: `{ script: [[tool, arguments], …] }`, one call a turn, and then a last word.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

interface Message {
  role: string;
  content: string | { type: string; text?: string }[] | null;
}

export interface ScriptedModelOptions {
  /** Resolves when the first turn of a rollout may be answered: what a model spends on thinking. */
  thinks(): Promise<void>;
}

export class ScriptedModel implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(options: ScriptedModelOptions): Promise<ScriptedModel> {
    const server = createServer((request, response) => {
      answer(request, options).then(
        (body) => response.setHeader('content-type', 'application/json').end(JSON.stringify(body)),
        (error: unknown) => response.writeHead(500).end(String(error)),
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ScriptedModel(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

let calls = 0;

async function answer(request: IncomingMessage, options: ScriptedModelOptions): Promise<object> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { messages } = JSON.parse(Buffer.concat(chunks).toString()) as { messages: Message[] };
  const { script } = JSON.parse(textOf(messages.find(({ role }) => role === 'user'))) as { script: [string, object][] };
  const turn = messages.filter(({ role }) => role === 'tool').length;
  if (turn === 0) await options.thinks();
  const step = script[turn];
  const id = `call_${++calls}`;
  const message =
    step === undefined
      ? { role: 'assistant', content: 'done' }
      : {
          role: 'assistant',
          content: null,
          tool_calls: [{ id, type: 'function', function: { name: step[0], arguments: JSON.stringify(step[1]) } }],
        };
  return {
    id: `answer-${calls}`,
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
