/** Extended attributes and ACLs of files: those in images, and those set by programs. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bench, LIMITS } from '../../../agent/runtime/contract/subject.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import type { OciRuntime } from '../../../agent/runtime/oci/oci-runtime.ts';
import { OddRegistry } from '../oci-images/odd-registry.ts';
import type { Entry } from '../oci-images/tar.ts';
import { pythonLines } from './probes.ts';
import { ociSubject } from './subject.ts';

const READER = 1_234;
const LIST = 'system.posix_acl_access';

/** In the kernel's format: its version, then tag, rights and id of each entry. The owning group has no rights. */
const ACL = ((): string => {
  const NOBODY = 0xffffffff;
  const entries = [
    [0x01, 6, NOBODY],
    [0x02, 4, READER],
    [0x04, 0, NOBODY],
    [0x10, 4, NOBODY],
    [0x20, 0, NOBODY],
  ] as const;
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2, 0);
  for (const [at, [tag, rights, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * at);
    bytes.writeUInt16LE(rights, 6 + 8 * at);
    bytes.writeUInt32LE(id, 8 + 8 * at);
  }
  return bytes.toString('latin1');
})();

const withAttribute = (name: string, value: string): Entry[] => [
  { path: 'file', body: name, mode: 0o640, xattrs: { [name]: value } },
];
const IMAGES: Record<string, Entry[]> = {
  acl: withAttribute(LIST, ACL),
  user: withAttribute('user.color', 'blue'),
  label: withAttribute('security.selinux', 'system_u:object_r:bin_t:s0'),
  trusted: withAttribute('trusted.mark', 'x'),
  measured: withAttribute('security.ima', 'x'),
};

/** Prints who can read the file, and which kinds of attributes root may set. */
const LOOK = `
import os, sys
acl = bytes.fromhex('${Buffer.from(ACL, 'latin1').toString('hex')}')
with open('/own', 'w') as own: own.write('x')
for name, value in (('user.x', b'1'), ('${LIST}', acl), ('trusted.x', b'1'), ('security.x', b'1')):
    try: os.setxattr('/own', name, value); print('set', name)
    except OSError as error: print('refused', name)
sys.stdout.flush()
for user in ${READER}, ${READER + 1}:
    child = os.fork()
    if child == 0:
        os.setgroups([]); os.setgid(user); os.setuid(user)
        for path in '/own', '/of-the-image':
            try: open(path).close(); print(user, 'reads', path)
            except PermissionError: pass
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
`;

let registry: OddRegistry;
let bench: Bench;
beforeAll(async () => {
  registry = await OddRegistry.start();
  for (const [name, entries] of Object.entries(IMAGES)) registry.imageOf(`attributes/${name}`, entries);
  bench = await Bench.open(ociSubject({ registry: { mirrors: {}, insecure: [registry.host] } }));
});
afterAll(async () => {
  await bench?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
});

const refOf = (name: string): string => `${registry.host}/attributes/${name}:1`;
async function treeOf(ref: string): Promise<string> {
  const image = await bench.runtime.images.ensure(ref, {});
  const [root = ''] = (bench.runtime as OciRuntime).images.layersOf(image);
  return root;
}
const attributesOf = async (path: string): Promise<string> =>
  (await promisify(execFile)('python3', ['-c', `import os, sys; print(*sorted(os.listxattr(sys.argv[1])))`, path]))
    .stdout;

test('ACLs, user attributes and capabilities of an image are kept, labels dropped, and others refused', async () => {
  expect(await attributesOf(join(await treeOf(refOf('acl')), 'file'))).toBe(`${LIST}\n`);
  expect(await attributesOf(join(await treeOf(refOf('user')), 'file'))).toBe('user.color\n');
  expect(await attributesOf(join(await treeOf(refOf('label')), 'file'))).toBe('\n');
  expect(await codeOf(bench.runtime.images.ensure(refOf('trusted'), {}))).toBe('image_invalid');
  expect(await codeOf(bench.runtime.images.ensure(refOf('measured'), {}))).toBe('image_invalid');
});

test.each([null, 16])('ACLs work, from the image and from a program, with a disk of %s MB', async (diskMb) => {
  const [from, to] = [await treeOf(refOf('acl')), await treeOf(bench.image.ref)];
  await promisify(execFile)('cp', ['--preserve=all', join(from, 'file'), join(to, 'of-the-image')]);
  const { link } = await bench.claimed({ limits: { ...LIMITS, diskMb } });
  expect(await pythonLines(link, LOOK)).toEqual([
    'set user.x',
    `set ${LIST}`,
    'refused trusted.x',
    'refused security.x',
    `${READER} reads /own`,
    `${READER} reads /of-the-image`,
  ]);
});
