/**
 * An iterator over a command's output. Not a generator function: `return` on a waiting generator has no effect until it
 * yields, and a generator that was never started does not run its `finally`.
 */
import type { ExecOutput } from './output.ts';
import type { ExecOutputEvent, Output } from './result.ts';

export class OutputReader<T extends Output> implements AsyncGenerator<ExecOutputEvent<T>, undefined> {
  readonly #output: ExecOutput;
  /** Called when the loop was left before the end. */
  readonly #left: () => void;
  #over = false;

  constructor(output: ExecOutput, left: () => void) {
    this.#output = output;
    this.#left = left;
  }

  /** @throws TypeError when the output is collected instead, and the error of the command. */
  async next(): Promise<IteratorResult<ExecOutputEvent<T>, undefined>> {
    while (!this.#over) {
      try {
        const event = this.#output.take();
        if (event === null) this.#over = true;
        else if (event !== undefined) return { done: false, value: event as ExecOutputEvent<T> };
      } catch (error) {
        this.#over = true;
        throw error;
      }
      if (!this.#over) await this.#output.more();
    }
    return { done: true, value: undefined };
  }

  return(): Promise<IteratorResult<ExecOutputEvent<T>, undefined>> {
    this.#leave();
    return Promise.resolve({ done: true, value: undefined });
  }

  throw(error: unknown): Promise<IteratorResult<ExecOutputEvent<T>, undefined>> {
    this.#leave();
    return Promise.reject(error as Error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#leave();
    return Promise.resolve();
  }

  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    this.#output.leave();
    if (this.#output.unread) this.#left();
  }
}

/**
 * Maps the items of another reader and drops those for which `pick` returns undefined. Leaving it leaves the other one.
 */
export class PickingReader<T, U> implements AsyncGenerator<U, undefined> {
  readonly #reader: AsyncGenerator<T, undefined>;
  readonly #pick: (item: T) => U | undefined;

  constructor(reader: AsyncGenerator<T, undefined>, pick: (item: T) => U | undefined) {
    this.#reader = reader;
    this.#pick = pick;
  }

  async next(): Promise<IteratorResult<U, undefined>> {
    for (;;) {
      const item = await this.#reader.next();
      if (item.done) return item;
      const picked = this.#pick(item.value);
      if (picked !== undefined) return { done: false, value: picked };
    }
  }

  async return(): Promise<IteratorResult<U, undefined>> {
    await this.#reader.return(undefined);
    return { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<IteratorResult<U, undefined>> {
    await this.#reader.throw(error);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.return(undefined);
  }
}
