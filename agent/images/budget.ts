/** Which images make room for others. */

export interface Evictable {
  id: string;
  sizeBytes: number;
  usedAtMs: number;
}

/**
 * Those to remove so that all together take at most `budgetBytes`: the one that nobody has used for longest first. `keep`
 * decides which are never taken, whatever that means for the budget.
 */
export function beyondBudget(
  images: Iterable<Evictable>,
  budgetBytes: number,
  keep: (image: Evictable) => boolean,
): string[] {
  const all = [...images];
  let total = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const evicted: string[] = [];
  for (const image of all.filter((each) => !keep(each)).sort((a, b) => a.usedAtMs - b.usedAtMs)) {
    if (total <= budgetBytes) break;
    total -= image.sizeBytes;
    evicted.push(image.id);
  }
  return evicted;
}
