/** Selects the images to evict when their total size exceeds the budget. */

export interface Evictable {
  id: string;
  sizeBytes: number;
  usedAtMs: number;
}

/**
 * Images to remove so that the rest take at most `budgetBytes`, least recently used first. Images in `keep` are never
 * removed, even over budget.
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
