/** The keys that leave a terminal without ending what runs in it: Ctrl-P, then Ctrl-Q, as with Docker. */

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

/** Watches what is typed. A Ctrl-P that no Ctrl-Q follows goes through with the next key, or when it is released. */
export class DetachKeys {
  #held = false;

  /** A Ctrl-P waits for its Ctrl-Q. */
  get holding(): boolean {
    return this.#held;
  }

  /** @returns the bytes to pass on, and whether the sequence was typed (bytes behind it are dropped). */
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

  /** @returns the Ctrl-P that was held, which was meant as it was typed. */
  release(): Uint8Array {
    const held = this.#held;
    this.#held = false;
    return held ? Uint8Array.of(CTRL_P) : new Uint8Array();
  }
}
