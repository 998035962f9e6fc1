/** Judges nodes by how the sandboxes sent to them start. */
import type { Logger } from '../../lib/logger.ts';
import type { SandboxRecord } from '../../protocol/node.ts';
import { isEnded } from '../../protocol/sandbox.ts';
import type { Node } from './node.ts';

/** A sandbox on a node. `Entry` implements it. */
export interface Started {
  readonly node: Node | null;
  readonly accepted: boolean;
  readonly record: SandboxRecord;
}

/** Returns what to call with each change of a sandbox. Each sandbox counts once. */
export function watchStarts(log: Logger): (sandbox: Started) => void {
  const judged = new WeakSet<Started>();
  return (sandbox) => {
    const { node, record, accepted } = sandbox;
    if (node === null || !accepted || judged.has(sandbox)) return;
    if (record.status !== 'RUNNING' && !isEnded(record.status)) return;
    judged.add(sandbox);
    if (record.status === 'RUNNING') node.health.ok();
    else if (record.reason !== 'start_failed') node.health.unsettled();
    else if (node.health.failed()) log.warn({ node: node.name }, 'node ejected after repeated failures');
  };
}
