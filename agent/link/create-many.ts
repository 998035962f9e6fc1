/** Many creates in one message. Each is accepted or refused on its own, as if it had been sent alone. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ServiceError, type WireError } from '../../src/protocol/errors.ts';
import type { CreateGroup } from '../../src/protocol/node.ts';
import type { Sandboxes } from '../sandboxes/sandboxes.ts';

/** Each create writes a file synchronously: after this many, the event loop gets a turn. */
const AT_A_TIME = 16;

interface Refused {
  ids: string[];
  error: WireError;
}

/** Resolves with the refused ids, grouped by error; all others were accepted. */
export async function createMany(
  sandboxes: Pick<Sandboxes, 'create'>,
  groups: readonly CreateGroup[],
): Promise<{ refused: Refused[] }> {
  const refused = new Map<string, Refused>();
  let done = 0;
  for (const { spec, ids } of groups) {
    for (const id of ids) {
      try {
        sandboxes.create({ ...spec, id });
      } catch (thrown) {
        const error = ServiceError.from(thrown).toWire();
        const reason = `${error.code} ${error.message}`;
        const same = refused.get(reason);
        if (same === undefined) refused.set(reason, { ids: [id], error });
        else same.ids.push(id);
      }
      done += 1;
      if (done % AT_A_TIME === 0) await nextTurn();
    }
  }
  return { refused: [...refused.values()] };
}
