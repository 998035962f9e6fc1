/** A signal that follows another one, and fires by itself when nothing has been heard for too long. */
export class Patience implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #what: string;
  readonly #onAbort = (): void => this.#controller.abort(this.#parent.reason);
  #timer: NodeJS.Timeout | undefined;
  /** Whether it has fired by itself. */
  ranOut = false;

  constructor(parent: AbortSignal, what: string) {
    this.#parent = parent;
    this.#what = what;
    if (parent.aborted) this.#onAbort();
    else parent.addEventListener('abort', this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on, silence may last so long. */
  wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.ranOut = true;
      this.#controller.abort(new Error(`${this.#what}: nothing heard for ${ms} ms`));
    }, ms);
  }

  /** Something was: the time begins again. */
  heard(): void {
    this.#timer?.refresh();
  }

  [Symbol.dispose](): void {
    this.#parent.removeEventListener('abort', this.#onAbort);
    clearTimeout(this.#timer);
  }
}
