/** The first items whose JSON takes at most `maxBytes` together, to fit in one message. */
export function fitting<T>(items: readonly T[], maxBytes: number): readonly T[] {
  let bytes = 0;
  const end = items.findIndex((item) => {
    bytes += jsonBytes(item) + 1;
    return bytes > maxBytes;
  });
  return end === -1 ? items : items.slice(0, end);
}

/** In bytes, as messages are measured: a character takes up to six. */
export function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
