/** Stand-ins for sandboxes: a process in its own network namespace, and what it can reach from there. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { until } from '../../helpers/until.ts';

const run = promisify(execFile);
/** A dropped packet is never answered. Answers come at once, on any machine. */
const SILENCE_MS = 6_000;
const START_MS = 60_000;

const TCP = `
const [host, port] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port) });
const end = (what) => { process.stdout.write(what); process.exit(0); };
socket.on('data', () => end('open')).on('error', () => end('closed'));
setTimeout(() => end('closed'), ${SILENCE_MS});
`;
const UDP = `
const [host, port] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
const end = (what) => { process.stdout.write(what); process.exit(0); };
socket.on('message', () => end('open')).on('error', () => end('closed'));
const ask = () => socket.send('?', Number(port), host, (error) => { if (error) end('closed'); });
ask();
setInterval(ask, 500);
setTimeout(() => end('closed'), ${SILENCE_MS});
`;
/** Each packet is the first of a connection. */
const SCATTER = `
const [host, port, count] = process.argv.slice(1);
const dgram = require('node:dgram');
const next = (left) => {
  if (left === 0) return;
  const socket = dgram.createSocket('udp4');
  socket.send('?', Number(port), host, () => { socket.close(); next(left - 1); });
};
for (let at = 0; at < 8; at += 1) next(Number(count) / 8);
`;
const LISTENER = `
require('node:net').createServer((s) => s.on('error', () => {}).end('hello')).listen(8000, '0.0.0.0');
`;

export class Place {
  readonly id: string;
  /** As a container's directory. */
  readonly dir: string;
  readonly #process: ChildProcess;

  private constructor(id: string, process: ChildProcess) {
    this.id = id;
    this.dir = mkdtempSync(path.join(tmpdir(), 'mbx-place-'));
    this.#process = process;
  }

  /** With a listener on port 8000 of all its addresses. */
  static async open(id: string): Promise<Place> {
    const script = 'ip link set lo up && exec "$0" -e "$1"';
    const child = spawn('unshare', ['--net', 'sh', '-c', script, process.execPath, LISTENER], { stdio: 'ignore' });
    const place = new Place(id, child);
    const own = readlinkSync('/proc/self/ns/net');
    await until(() => readlinkSync(`/proc/${place.pid}/ns/net`) !== own, START_MS, 'a namespace');
    await until(async () => (await place.reaches('127.0.0.1:8000')) === 'open', START_MS, 'a listener');
    return place;
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** `open`: an answer came. */
  async reaches(target: string, protocol: 'tcp' | 'udp' = 'tcp'): Promise<string> {
    const [host = '', port = ''] = target.split(':');
    const script = protocol === 'tcp' ? TCP : UDP;
    const inside = [`--net=/proc/${this.pid}/ns/net`, process.execPath, '-e', script, host, port];
    return (await run('nsenter', inside, { timeout: START_MS })).stdout;
  }

  /** Opens this many connections over UDP, and waits for no answer. */
  async scatter(target: string, count: number): Promise<void> {
    const [host = '', port = ''] = target.split(':');
    const inside = [`--net=/proc/${this.pid}/ns/net`, process.execPath, '-e', SCATTER, host, port, String(count)];
    await run('nsenter', inside, { timeout: START_MS });
  }

  async close(): Promise<void> {
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await gone;
    rmSync(this.dir, { recursive: true, force: true });
  }
}
