/** Many creates in one message. Each is accepted or refused on its own, as if it had been sent alone. */
import type { PerTurn } from '../../src/lib/per-turn.ts';
import { ServiceError, type WireError } from '../../src/protocol/errors.ts';
import type { CreateGroup } from '../../src/protocol/node.ts';
import type { Sandboxes } from '../sandboxes/sandboxes.ts';

interface Refused {
  ids: string[];
  error: WireError;
}

/**
 * Resolves with the refused ids, grouped by error; all others were accepted.
 * @param wanted whether the gateway still waits for the answer; once it does not, no more are made
 */
export async function createMany(
  sandboxes: Pick<Sandboxes, 'create'>,
  groups: readonly CreateGroup[],
  turns: PerTurn,
  wanted: () => boolean,
): Promise<{ refused: Refused[] }> {
  const refused = new Map<string, Refused>();
  for (const { spec, ids } of groups) {
    for (const id of ids) {
      await turns.next();
      if (!wanted()) throw new ServiceError('cancelled');
      try {
        sandboxes.create({ ...spec, id });
      } catch (thrown) {
        const error = ServiceError.from(thrown).toWire();
        const reason = `${error.code} ${error.message}`;
        const same = refused.get(reason);
        if (same === undefined) refused.set(reason, { ids: [id], error });
        else same.ids.push(id);
      }
    }
  }
  return { refused: [...refused.values()] };
}
