/** Ids are random, prefixed by what they name, and never reused. */

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

const CHARACTERS = 20;
/** Random bytes are drawn for many ids at once: a draw costs more than an id. */
const pool = new Uint8Array(CHARACTERS * 128);
let drawn = pool.length;

/** 100 random bits as 20 characters of base32 (no i, l, o, u). */
function random20(): string {
  if (drawn === pool.length) {
    crypto.getRandomValues(pool);
    drawn = 0;
  }
  let text = '';
  for (const end = drawn + CHARACTERS; drawn < end; drawn++) text += ALPHABET[pool[drawn]! & 31];
  return text;
}

export const newSandboxId = (): string => `sbx-${random20()}`;
export const newExecId = (): string => `exe-${random20()}`;
/** Whether we generated this id. If so, only those who were given it can ask for the command again. */
export const isMadeExecId = (id: string): boolean => /^exe-[0-9a-hjkmnp-tv-z]{20}$/.test(id);
export const newRequestId = (): string => `req-${random20()}`;

/** What a client may use as its own exec id, and the form of every id in a path. */
export const ID_PATTERN = /^[a-z0-9][a-z0-9-]{3,63}$/;
