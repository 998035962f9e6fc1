/**
 * A node in the network namespace in which the test starts this program. Reports as JSON what its sandboxes can reach:
 * arguments are the runtime, the directory of unpacked images, and addresses with ports.
 */
import { readFileSync, writeSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { openGvisorRuntime } from '../../../agent/runtime/gvisor/open.ts';
import { openOciRuntime } from '../../../agent/runtime/oci/open.ts';
import type { SupervisorLink } from '../../../agent/supervisor/supervisor-link.ts';
import { baseImage } from '../../helpers/images.ts';
import { configFor } from './oci-config.ts';

const [runtime = '', imagesDir = '', ...targets] = process.argv.slice(2);

/** `open`: the target answered. Otherwise the connection was refused or timed out. */
async function reaches(link: SupervisorLink, target: string): Promise<string> {
  const [host = '', port = ''] = target.split(/:(?=\d+$)/);
  const script = `exec 3<>/dev/tcp/${host}/${port} && { read -t 5 line <&3; echo "$line"; }`;
  const { stdout } = await run(link, ['timeout', '10', 'bash', '-c', script]);
  return stdout.trim() === 'hello' ? 'open' : 'closed';
}

async function main(): Promise<void> {
  const server = net.createServer((socket) => socket.on('error', () => undefined).end('hello\n'));
  await new Promise<void>((resolve) => server.listen(2375, '0.0.0.0', resolve));
  await using bench = await Bench.open({
    name: 'network',
    open: (dataDir) => {
      const config = configFor({ dataDir, imagesDir });
      const oci = { registry: { mirrors: {}, insecure: [] }, archives: {}, ...config.oci, resolvers: ['10.99.0.53'] };
      return (runtime === 'gvisor' ? openGvisorRuntime : openOciRuntime)({ ...config, oci });
    },
    image: baseImage(),
    failing: [],
    linux: true,
    kill: () => Promise.resolve(),
  });
  const [online, neighbour, off] = await Promise.all([
    bench.claimed({ network: 'internet', sandbox: 'sbx-online' }),
    bench.claimed({ network: 'internet', sandbox: 'sbx-neighbour' }),
    bench.claimed({ sandbox: 'sbx-off' }),
  ]);
  const show = async (link: SupervisorLink, script: string): Promise<string> =>
    (await run(link, ['sh', '-c', script])).stdout.trim();
  const neighbourAddress = addressOf(path.join(bench.dataDir, runtime, 'boxes', neighbour.container.id));
  const serve = [
    'socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);',
    'bind(S, sockaddr_in(8000, INADDR_ANY)) or die $!; listen(S, 5);',
    'while (accept(C, S)) { syswrite C, "hello\\n"; close C }',
  ];
  const listener = run(neighbour.link, ['perl', '-MSocket', '-e', serve.join(' ')]);
  listener.catch(() => undefined);
  const gateway = neighbourAddress.replace(/\.\d+$/, '.1');
  const own = { neighbour: `${neighbourAddress}:8000`, gateway: `${gateway}:2375` };
  const report: Record<string, unknown> = {
    neighbourAddress,
    // Whether something listens there is only known if it can be reached from inside.
    neighbourItself: await until(() => reaches(neighbour.link, '127.0.0.1:8000')),
    resolvers: await show(online.link, 'cat /etc/resolv.conf'),
    offResolvers: await show(off.link, 'cat /etc/resolv.conf'),
    ipv6: await show(online.link, 'cat /proc/net/if_inet6 | grep -v " lo$"'),
  };
  const tried = [...targets, own.neighbour, own.gateway];
  const named = (target: string): string =>
    target === own.neighbour ? 'neighbour' : target === own.gateway ? 'gateway' : target;
  const look = async (link: SupervisorLink): Promise<Record<string, string>> =>
    Object.fromEntries(
      await Promise.all(tried.map(async (target) => [named(target), await reaches(link, target)] as const)),
    );
  report['online'] = await look(online.link);
  report['off'] = await look(off.link);
  server.close();
  writeSync(1, JSON.stringify(report));
}

/** The address recorded by the runtime for the container of this directory. */
function addressOf(dir: string): string {
  return (JSON.parse(readFileSync(path.join(dir, 'cable.json'), 'utf8')) as { address: string }).address;
}

async function until(look: () => Promise<string>): Promise<string> {
  for (let tries = 0; tries < 100; tries += 1) {
    if ((await look()) === 'open') return 'open';
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return 'closed';
}

await main();
