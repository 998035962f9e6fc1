/**
 * Whether a line has `then` after `first`. The output of tools contains what registries and images say; in one regular
 * expression, `first.*then` takes a time that grows with the square of a line's length.
 */
export function hasInOrder(output: string, first: RegExp, then: RegExp): boolean {
  return output.split('\n').some((line) => {
    const at = line.search(first);
    return at >= 0 && then.test(line.slice(at));
  });
}
