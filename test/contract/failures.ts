/** Failing requests, in each door's own form. All doors must answer with the same code and message. */
import type { Millibox, Sandbox } from '../../src/sdk/index.ts';
import type { Json } from '../../src/mux/index.ts';
import type { ErrorCode } from '../../src/protocol/errors.ts';

export interface Failing {
  what: string;
  code: ErrorCode;
  rest?: { method: string; path: string; body?: Json | string };
  /** An OPEN. */
  ws?: Json;
  sdk?: (sandbox: Sandbox, client: Millibox) => Promise<unknown>;
  /** Arguments of `millibox`; its stdin is empty. */
  cli?: readonly string[];
}

/** Run first: creates a directory with a file, a link to itself, a FIFO, and a text file. */
export const MAKE =
  'mkdir -p /t/dir && echo x > /t/dir/in && ln -s loop /t/loop && mkfifo /t/fifo && echo hi > /t/file';

const LONG = `/t/${'n'.repeat(256)}`;
const NOBODY = 'no-such-user';

function reading(path: string, code: ErrorCode): (sandbox: string) => Failing {
  return (sandbox) => ({
    what: `reading ${path.slice(0, 40)}`,
    code,
    rest: { method: 'GET', path: `/v1/sandboxes/${sandbox}/files?path=${encodeURIComponent(path)}` },
    ws: { op: 'file', sandbox, call: 'read', path },
    sdk: ({ files }) => files.read(path),
    cli: ['cp', `${sandbox}:${path}`, '-'],
  });
}

function writing(path: string, code: ErrorCode, owner?: string): (sandbox: string) => Failing {
  const more = owner === undefined ? {} : { owner };
  const query = new URLSearchParams({ path, ...more }).toString();
  return (sandbox) => ({
    what: `writing ${path.slice(0, 40)}${owner === undefined ? '' : ` for ${owner}`}`,
    code,
    rest: { method: 'PUT', path: `/v1/sandboxes/${sandbox}/files?${query}`, body: '' },
    ws: { op: 'file', sandbox, call: 'write', path, ...more },
    sdk: ({ files }) => files.write(path, '', more),
    cli: ['cp', '-', `${sandbox}:${path}`, ...(owner === undefined ? [] : ['--user', owner])],
  });
}

/** A file call that `millibox` has no command for. */
function filing(
  call: string,
  fields: Json & { path: string },
  code: ErrorCode,
  sdk: (files: Sandbox['files']) => Promise<unknown>,
): (sandbox: string) => Failing {
  const query = new URLSearchParams(
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)])),
  ).toString();
  const base = (sandbox: string): string => `/v1/sandboxes/${sandbox}/files`;
  const rest: Record<string, (sandbox: string) => NonNullable<Failing['rest']>> = {
    list: (sandbox) => ({ method: 'GET', path: `${base(sandbox)}/list?${query}` }),
    stat: (sandbox) => ({ method: 'GET', path: `${base(sandbox)}/stat?${query}` }),
    remove: (sandbox) => ({ method: 'DELETE', path: `${base(sandbox)}?${query}` }),
  };
  return (sandbox) => ({
    what: `${call} ${JSON.stringify(fields)}`,
    code,
    rest: rest[call]?.(sandbox) ?? { method: 'POST', path: `${base(sandbox)}/${call}`, body: fields },
    ws: { op: 'file', sandbox, call, ...fields },
    sdk: (one) => sdk(one.files),
  });
}

function running(
  argv: readonly string[],
  code: ErrorCode,
  options: { cwd?: string; user?: string } = {},
): (sandbox: string) => Failing {
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  return (sandbox) => ({
    what: `running ${argv.join(' ').slice(0, 40)} ${JSON.stringify(options)}`,
    code,
    rest: { method: 'POST', path: `/v1/sandboxes/${sandbox}/exec`, body: { argv, ...options } },
    ws: { op: 'exec', sandbox, argv, ...options },
    sdk: (one) => one.exec([...argv], options).result,
    cli: ['exec', '--no-stdin', ...flags, sandbox, '--', ...argv],
  });
}

function connecting(port: number, code: ErrorCode): (sandbox: string) => Failing {
  return (sandbox) => ({
    what: `connecting to port ${port}`,
    code,
    rest: { method: 'GET', path: `/v1/sandboxes/${sandbox}/ports/${port}/` },
    ws: { op: 'port', sandbox, port },
    sdk: ({ ports }) => ports.connect(port),
  });
}

function creating(body: Json, code: ErrorCode, args: readonly string[]): () => Failing {
  return () => ({
    what: `creating ${JSON.stringify(body).slice(0, 60)}`,
    code,
    rest: { method: 'POST', path: '/v1/sandboxes', body },
    sdk: async (_sandbox, { sandboxes }) => await sandboxes.create(body),
    cli: ['create', ...args],
  });
}

/** In a running sandbox prepared with `MAKE`. */
export const FAILURES: readonly ((sandbox: string) => Failing)[] = [
  reading('/none', 'file_not_found'),
  reading('/t/dir', 'file_not_regular'),
  reading('/t/fifo', 'file_not_regular'),
  reading('/dev/zero', 'file_not_regular'),
  reading('/t/loop', 'invalid_request'),
  reading('/t/file/below', 'file_not_directory'),
  reading(LONG, 'invalid_request'),
  reading('/proc/1/root/t/file', 'invalid_request'),
  writing('/t/dir', 'file_not_regular'),
  writing('/t/fifo', 'file_not_regular'),
  writing('/t/loop', 'invalid_request'),
  writing('/t/file/below', 'file_not_directory'),
  writing(LONG, 'invalid_request'),
  writing('/proc/made', 'file_not_found'),
  writing('/sys/made', 'file_permission_denied'),
  writing('/t/new', 'exec_bad_user', NOBODY),
  filing('list', { path: '/none' }, 'file_not_found', (files) => files.list('/none')),
  filing('list', { path: '/t/file' }, 'file_not_directory', (files) => files.list('/t/file')),
  filing('stat', { path: '/none' }, 'file_not_found', (files) => files.stat('/none')),
  filing('stat', { path: '' }, 'invalid_request', (files) => files.stat('')),
  filing('stat', { path: '/a\0b' }, 'invalid_request', (files) => files.stat('/a\0b')),
  filing('remove', { path: '/none' }, 'file_not_found', (files) => files.remove('/none')),
  filing('remove', { path: '/t/dir' }, 'file_exists', (files) => files.remove('/t/dir')),
  filing('remove', { path: '/', recursive: true }, 'file_permission_denied', (files) =>
    files.remove('/', { recursive: true }),
  ),
  filing('remove', { path: '/dev/shm', recursive: true }, 'file_permission_denied', (files) =>
    files.remove('/dev/shm', { recursive: true }),
  ),
  filing('mkdir', { path: '/t/file' }, 'file_exists', (files) => files.mkdir('/t/file')),
  filing('mkdir', { path: '/t/made', mode: 65_536 }, 'invalid_request', (files) =>
    files.mkdir('/t/made', { mode: 65_536 }),
  ),
  filing('move', { path: '/none', to: '/t/to' }, 'file_not_found', (files) => files.move('/none', '/t/to')),
  filing('move', { path: '/t/dir', to: '/t/file' }, 'file_exists', (files) => files.move('/t/dir', '/t/file')),
  filing('move', { path: '/t/dir', to: '/t/dir/in/it' }, 'file_not_directory', (files) =>
    files.move('/t/dir', '/t/dir/in/it'),
  ),
  filing('move', { path: '/dev/shm', to: '/t/shm' }, 'file_permission_denied', (files) =>
    files.move('/dev/shm', '/t/shm'),
  ),
  filing('chmod', { path: '/none', mode: 448 }, 'file_not_found', (files) => files.chmod('/none', { mode: 448 })),
  filing('chmod', { path: '/t/file', owner: NOBODY }, 'exec_bad_user', (files) =>
    files.chmod('/t/file', { owner: NOBODY }),
  ),
  running(['/none'], 'exec_program_not_found'),
  running(['/t/file'], 'exec_permission_denied'),
  running(['/t'], 'exec_permission_denied'),
  running(['true'], 'exec_bad_cwd', { cwd: '/none' }),
  running(['true'], 'exec_bad_cwd', { cwd: '/t/file' }),
  running(['true'], 'exec_bad_user', { user: NOBODY }),
  connecting(9, 'port_refused'),
  creating({ image: 'Nope:::bad' }, 'invalid_request', ['Nope:::bad']),
  creating({ memoryMb: 1 }, 'invalid_request', ['--memory', '1m']),
  creating({ pidsLimit: 1 }, 'invalid_request', ['--pids', '1']),
  creating({ labels: { a: 'x'.repeat(257) } }, 'invalid_request', ['--label', `a=${'x'.repeat(257)}`]),
];

/** With a sandbox that does not exist, or has ended. */
export const GONE: readonly ((code: ErrorCode) => (sandbox: string) => Failing)[] = [
  (code) => reading('/etc/passwd', code),
  (code) => writing('/t/file', code),
  (code) => filing('list', { path: '/' }, code, (files) => files.list('/')),
  (code) => running(['true'], code),
  (code) => connecting(80, code),
];
