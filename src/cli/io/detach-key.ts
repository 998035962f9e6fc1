/** The keys that leave a terminal without ending what runs in it: Ctrl-P, then Ctrl-Q, as with Docker. */

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

/**
 * Watches the input. A Ctrl-P that is not followed by Ctrl-Q is passed on with the next key, or when it is released.
 */
export class DetachKeys {
  #held = false;

  /** Whether a Ctrl-P is held, waiting for its Ctrl-Q. */
  get holding(): boolean {
    return this.#held;
  }

  /** @returns the bytes to pass on, and whether the sequence was typed (bytes after it are dropped). */
  take(typed: Uint8Array): { pass: Uint8Array; detach: boolean } {
    const pass: number[] = [];
    for (const byte of typed) {
      if (this.#held) {
        this.#held = false;
        if (byte === CTRL_Q) return { pass: Uint8Array.from(pass), detach: true };
        pass.push(CTRL_P);
      }
      if (byte === CTRL_P) this.#held = true;
      else pass.push(byte);
    }
    return { pass: Uint8Array.from(pass), detach: false };
  }

  /** @returns the held Ctrl-P, which was not the start of the sequence. */
  release(): Uint8Array {
    const held = this.#held;
    this.#held = false;
    return held ? Uint8Array.of(CTRL_P) : new Uint8Array();
  }
}
