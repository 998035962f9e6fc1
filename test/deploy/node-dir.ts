/**
 * What an agent in a container leaves on its node: a directory that is a shared mount, as on a machine with systemd.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { agentGroup, tagOf } from '../../agent/runtime/oci/place.ts';
import { command } from './engine.ts';
import { run } from './tools.ts';

const GROUPS = '/sys/fs/cgroup';

export class NodeDir implements AsyncDisposable {
  readonly dir = mkdtempSync(path.join(tmpdir(), 'mb-node-'));
  /** The agent's directory on the node. */
  readonly data = path.join(this.dir, 'data');

  static async make(): Promise<NodeDir> {
    const made = new NodeDir();
    mkdirSync(made.data);
    await command('mount', ['--bind', made.data, made.data]);
    await command('mount', ['--make-private', made.data]);
    await command('mount', ['--make-shared', made.data]);
    return made;
  }

  /** The init processes of sandboxes and blanks. */
  sandboxes(): number[] {
    const boxes = path.join(this.data, 'agent/oci/boxes');
    return readdirSync(boxes, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.json'))
      .map((file) => JSON.parse(readFileSync(path.join(boxes, file), 'utf8')) as { pid?: number })
      .flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  }

  /** Mounts below the directory, cgroups, and its agent's network. */
  async left(): Promise<string[]> {
    const dataDir = path.join(this.data, 'agent');
    const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
    const trees = [GROUPS, ...readdirSync(GROUPS).map((name) => path.join(GROUPS, name))];
    const groups = trees.map((tree) => path.join(tree, agentGroup(dataDir))).filter((each) => existsSync(each));
    const network = tagOf(dataDir).slice(0, 8);
    const [links, tables] = await Promise.all([run('ip', ['-o', 'link']), run('nft', ['list', 'tables'])]);
    const lines = `${links.stdout}\n${tables.stdout}`.split('\n').filter((line) => line.includes(network));
    return [...mounts.filter((line) => line.includes(`${this.data}/`)), ...groups, ...lines];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await command('umount', ['--recursive', this.data]).catch(() => undefined);
    await command('rm', ['-rf', '--one-file-system', this.dir]);
  }
}
