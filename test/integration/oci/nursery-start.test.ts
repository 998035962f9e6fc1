/** A nursery whose start fails late, after the runtime has started its container. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bench } from '../../../agent/runtime/contract/subject.ts';
import { directoriesOf, findCgroups, processesIn } from '../../../agent/runtime/oci/cgroup-tree.ts';
import { agentGroup } from '../../../agent/runtime/oci/place.ts';
import { ociSubject, processOf } from './subject.ts';

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), 'mbx-program-'))));
afterAll(() => rmSync(dir, { recursive: true }));

test('it is killed by its cgroup, and the runtime starts the blanks', async () => {
  const program = join(dir, 'late');
  const late = 'case "$*" in *" run "*nursery-*) runc "$@"; exit 1 ;; esac';
  writeFileSync(program, `#!/bin/sh\n${late}\nexec runc "$@"\n`, { mode: 0o755 });
  await using bench = await Bench.open(ociSubject({ program }));
  const { container } = await bench.launch();
  const box = processOf(bench.runtime, container.id);
  expect(box.by).toBe('runtime');
  const tree = findCgroups();
  const group = agentGroup(bench.dataDir);
  expect(processesIn(tree, group)).toEqual([box.pid]);
  expect(directoriesOf(tree, group).filter((each) => each.includes('nursery-'))).toEqual([]);
});
