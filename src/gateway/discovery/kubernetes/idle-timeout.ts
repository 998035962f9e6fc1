/** A signal that follows a parent signal, and also fires when nothing has been received for too long. */
export class IdleTimeout implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #what: string;
  readonly #onAbort = (): void => this.#controller.abort(this.#parent.reason);
  #timer: NodeJS.Timeout | undefined;
  /** Whether it fired because of silence. */
  expired = false;

  constructor(parent: AbortSignal, what: string) {
    this.#parent = parent;
    this.#what = what;
    if (parent.aborted) this.#onAbort();
    else parent.addEventListener('abort', this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Restarts the timer: from now on silence may last this long. */
  limit(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#controller.abort(new Error(`${this.#what}: nothing heard for ${ms} ms`));
    }, ms);
  }

  /** Something was received: restarts the timer. */
  refresh(): void {
    this.#timer?.refresh();
  }

  [Symbol.dispose](): void {
    this.#parent.removeEventListener('abort', this.#onAbort);
    clearTimeout(this.#timer);
  }
}
