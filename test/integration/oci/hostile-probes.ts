/** Programs that try, as root of a sandbox, forbidden things, and print those that were not refused, one per line. */

/** An error about an invalid argument is not a refusal: without permission the call does not get that far. */
const PRELUDE = `
import ctypes, errno, fcntl, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, work):
    try: work()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS): return
    print(name)
`;

/** Forged packets, and settings of interfaces, addresses and neighbours. */
export const AT_THE_NETWORK = `${PRELUDE}
for family in (socket.AF_INET, socket.AF_INET6):
    for protocol in (1, 17, 58, 255): tried(f'raw {family} {protocol}', lambda: socket.socket(family, socket.SOCK_RAW, protocol))
for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
    tried(f'packets {kind}', lambda: socket.socket(socket.AF_PACKET, kind, socket.htons(3)))
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
name = struct.pack('16s', b'lo')
address = struct.pack('HH4s8x', socket.AF_INET, 0, bytes([10, 0, 0, 9]))
for what, number, argument in (
    ('card address', 0x8924, name + struct.pack('H6s8x', 1, bytes(6))),
    ('address', 0x8916, name + address),
    ('flags', 0x8914, name + struct.pack('H22x', 0)),
    ('neighbour', 0x8955, address * 3 + name),
    ('route', 0x890b, bytes(120)),
    ('name', 0x8923, name + struct.pack('16s', b'eth7')),
    ('bridge', 0x89a0, struct.pack('16s', b'br0')),
): tried(what, lambda: fcntl.ioctl(plain, number, argument))
def netlink(family, kind, body):
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
    link.settimeout(10)
    link.send(struct.pack('IHHII', 16 + len(body), kind, 0x605, 1, 0) + body)
    answer = link.recv(4096)
    kind, = struct.unpack_from('H', answer, 4)
    code, = struct.unpack_from('i', answer, 16)
    if kind != 2 or code != 0: raise OSError(-code, 'refused')
six = struct.pack('HH', 20, 1) + socket.inet_pton(socket.AF_INET6, '2001:db8::7')
for what, kind, body in (
    ('a new address', 20, struct.pack('BBBBI', 2, 24, 0, 0, 1) + struct.pack('HH4s', 8, 2, bytes([10, 0, 0, 9]))),
    ('a new address of version 6', 20, struct.pack('BBBBI', 10, 64, 0, 0, 1) + six),
    ('a new card', 16, struct.pack('BxHiII', 0, 0, 0, 0, 0) + struct.pack('HH', 16, 18) + struct.pack('HH5s3x', 9, 1, b'dummy')),
    ('a new route', 24, struct.pack('BBBBBBBBI', 2, 0, 0, 0, 254, 3, 0, 1, 0) + struct.pack('HHi', 8, 4, 1)),
    ('a new neighbour', 28, struct.pack('BxHiHBB', 2, 0, 1, 128, 0, 0) + struct.pack('HH4s', 8, 1, bytes([10, 0, 0, 8]))),
): tried(what, lambda: netlink(0, kind, body))
tried('a new table of nftables', lambda: netlink(12, 0xa00, struct.pack('BBH', 1, 0, 0) + struct.pack('HH4s', 8, 1, b'own')))
`;

/** System calls that reach into the kernel, with arguments that are harmless if allowed. */
export const AT_THE_KERNEL = `${PRELUDE}
import platform
arm = platform.machine() == 'aarch64'
room = ctypes.create_string_buffer(4096)
def call(*arguments):
    ctypes.set_errno(0)
    if libc.syscall(*arguments) < 0: raise OSError(ctypes.get_errno(), 'refused')
for what, numbers, arguments in (
    ('io_uring', (425, 425), (8, room)),
    ('bpf', (321, 280), (5, room, 72)),
    ('perf events', (298, 241), (room, 0, -1, -1, 0)),
    ('faults of memory', (323, 282), (0,)),
    ('a key', (248, 217), (b'user', b'mine', b'x', 1, -3)),
    ('the key ring of the session', (250, 219), (0, -3, 1)),
    ('a file by its handle', (304, 265), (-100, room, 0)),
    ('a module', (313, 273), (0, b'', 0)),
    ('another kernel', (246, 104), (0, 0, 0, 0)),
    ('the log of the kernel', (103, 116), (3, room, 4096)),
    ('the clock', (227, 112), (0, 0)),
    ('swap', (167, 224), (b'/tmp/none', 0)),
    ('accounting', (163, 89), (0,)),
    ('real time', (144, 119), (0, 1, ctypes.byref(ctypes.c_int(50)))),
    ('a better priority', (141, 140), (0, 0, -10)),
    ('the first place at the disks', (251, 30), (1, 0, 1 << 13)),
    ('a restart', (169, 142), (0, 0, 0, 0)),
): tried(what, lambda: call(numbers[1] if arm else numbers[0], *arguments))
for file_system in (b'proc', b'sysfs', b'tmpfs', b'cgroup', b'cgroup2', b'overlay', b'mqueue', b'debugfs', b'bpf'):
    def mount():
        if libc.mount(b'none', b'/mnt', file_system, 0, b'') < 0: raise OSError(ctypes.get_errno(), 'refused')
    tried(f'mount of {file_system}', mount)
`;

/** Uses up a disk in ways that do not show in the sizes of its files. Prints those that were refused. */
export const AT_THE_DISK = `
import os
def until_full(name, work):
    number = 0
    try:
        while number < 200000:
            work(number)
            number += 1
        print(name, 'has no end')
    except OSError as error:
        print(name, error.strerror)
def fresh(what):
    os.makedirs(f'/{what}')
    os.chdir(f'/{what}')
def clear():
    for entry in os.listdir('.'): os.unlink(entry)
fresh('empty')
until_full('files with nothing in them', lambda at: os.close(os.open(str(at), os.O_CREAT)))
clear()
held = []
def unlinked(at):
    held.append(os.open('gone', os.O_CREAT | os.O_RDWR))
    os.unlink('gone')
    if os.write(held[-1], bytes(1 << 20)) < 1 << 20: raise OSError(28, os.strerror(28))
until_full('files without a name', unlinked)
for each in held: os.close(each)
fresh('sparse')
with open('big', 'wb') as big:
    big.truncate(1 << 34)
    def hole(at):
        big.seek(at << 20)
        big.write(bytes(4096))
        big.flush()
    until_full('what is written into a hole', hole)
os.truncate('big', 0)
with open('names', 'w') as file: file.write('x')
until_full('names of one file', lambda at: os.link('names', f'{at:0200}'))
`;

/** Each holds as much memory as it is given. */
export const HOARDS = {
  pipes: `
import os
held = []
while True:
    held.append(os.pipe())
    os.set_blocking(held[-1][1], False)
    try:
        while True: os.write(held[-1][1], bytes(65536))
    except BlockingIOError: pass`,
  'memory without a name': `
import os
file = os.memfd_create('x')
while True: os.write(file, bytes(1 << 20))`,
  'unix sockets': `
import socket
held = []
while True:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    held.append((a, b))
    a.setblocking(False)
    try:
        while True: a.send(bytes(4096))
    except BlockingIOError: pass`,
};

/** Attacks on PID 1, in perl: prints those that succeed. */
export const AT_BOXINIT = `
  use POSIX ();
  my $room = 'x' x 4096;
  my $vector = pack('P L! ', $room, 16);
  sub made { my ($what, $result) = @_; print "$what\\n" if defined $result && $result >= 0 }
  for my $signal (qw(KILL TERM INT STOP TSTP QUIT SEGV HUP USR1 ABRT)) { kill $signal, 1 }
  # What a queued signal says of its sender, the sender has written: here, that it is outside.
  for my $signal (2, 15) { syscall(129, 1, $signal, pack('i3 x4 i2 x104', $signal, 0, -1, 0, 0)) }
  made('ptrace attach', syscall(101, 16, 1, 0, 0));
  made('ptrace seize', syscall(101, 0x4206, 1, 0, 0));
  made('process_vm_readv', syscall(310, 1, $vector, 1, $vector, 1, 0));
  made('process_vm_writev', syscall(311, 1, $vector, 1, $vector, 1, 0));
  my $handle = syscall(434, 1, 0);
  made('pidfd_getfd', $handle >= 0 ? syscall(438, $handle, 3, 0) : -1);
  my $second = pack('QQ', 1, 1);
  made('prlimit', syscall(302, 1, 0, $second, 0));
  made('kcmp', syscall(312, 1, $$, 0, 0, 0));
  for my $name (qw(mem maps smaps environ auxv stack syscall io pagemap)) {
    open(my $file, '<', "/proc/1/$name") or next;
    print "$name\\n" if sysread($file, my $byte, 1);
  }
  for my $name (qw(root cwd exe fd/0 fd/3 ns/net)) { print "$name\\n" if defined readlink("/proc/1/$name") }
  for my $name (qw(oom_score_adj oom_adj task/1/oom_score_adj task/1/oom_adj autogroup)) {
    print "may write $name\\n" if open(my $file, '>', "/proc/1/$name");
  }
  for my $number (0 .. 63) {
    print "opened $number\\n" if open(my $file, '<', "/proc/1/fd/$number");
    print "listed $number\\n" if opendir(my $directory, "/proc/1/fd/$number");
  }
  for my $name (qw(net mnt pid)) {
    open(my $file, '<', "/proc/1/ns/$name") or next;
    made("setns $name", syscall(308, fileno($file), 0));
  }
`;
