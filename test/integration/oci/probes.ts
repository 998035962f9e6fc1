/** Programs that inspect a container from inside and print one fact per line. They need perl, python and coreutils. */
import { run } from '../../../agent/runtime/contract/subject.ts';
import type { SupervisorLink } from '../../../agent/supervisor/supervisor-link.ts';

/** A shell script's output, as lines. @throws Error if it fails. */
export async function lines(link: SupervisorLink, script: string): Promise<string[]> {
  return await linesOf(link, ['sh', '-c', script]);
}

export async function perlLines(link: SupervisorLink, script: string): Promise<string[]> {
  return await linesOf(link, ['perl', '-e', script]);
}

export async function pythonLines(link: SupervisorLink, script: string): Promise<string[]> {
  return await linesOf(link, ['python3', '-c', script]);
}

async function linesOf(link: SupervisorLink, argv: string[]): Promise<string[]> {
  const { stdout, stderr, exit } = await run(link, argv);
  if (exit.exitCode !== 0) throw new Error(`the probe ended with ${exit.exitCode}: ${stderr.slice(0, 2_000)}`);
  return stdout.split('\n').filter((line) => line !== '');
}

/** Rights of a process: capabilities, no_new_privs, kind of filter. */
export const RIGHTS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status | sort";

/** Mount point, type and flags of all mounts. */
export const MOUNTS = `awk '{ for (at = 7; $at != "-"; at++); print $5, $(at + 1), $6 }' /proc/self/mountinfo | sort`;

/** Name, kind, numbers and rights of the entries in /dev. */
export const DEVICES =
  "find /dev -mindepth 1 ! -path '/dev/pts/[0-9]*' -printf '%p %y %m %U:%G %l ' -exec stat -c '%t,%T' {} ';' | sort";

/**
 * A program's limits, by `getrlimit`. The one on file locks has no effect: boxinit uses it to tag what a command
 * started.
 */
export const RESOURCE_LIMITS = "sed 's/  */ /g; /^Max file locks/d' /proc/self/limits";

/** Whether each of these can be read, and its beginning. Masked files are empty, masked directories too. */
export const MASKED = [
  'for path in /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats',
  '/proc/sched_debug /proc/scsi /sys/firmware; do',
  'if [ -d $path ]; then echo $path dir $(ls -A $path 2>&1 | wc -l);',
  'elif [ -e $path ]; then echo $path file $(head -c 16 $path 2>/dev/null | wc -c);',
  'else echo $path absent; fi; done',
].join(' ');

/** Writes into the kernel that must fail. Prints those that do not. */
export const KERNEL_WRITES = [
  'for path in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger',
  '/proc/irq/default_smp_affinity /sys/kernel/profiling /sys/kernel/uevent_helper /sys/power/state; do',
  '[ -e $path ] && (head -c 0 /dev/null >>$path) 2>/dev/null && echo $path; done;',
  'for path in /proc/sys /proc/bus /proc/fs /proc/irq /sys /sys/fs/cgroup/*; do',
  '[ -d $path ] && mkdir $path/made 2>/dev/null && echo $path; done; true',
].join(' ');

/**
 * Makes every system call of this processor in its own child, with arguments that have no effect: do the filters allow
 * it? Those that do not fail with EPERM or ENOSYS. `clone` and the like are skipped: a child's children would continue
 * with the list.
 */
export const SYSTEM_CALLS = `
  use POSIX ();
  $| = 1;
  # exit, fork and the like; what would end or stop the child; sync, which waits for the disks of the whole machine.
  my %skip = map { $_ => 1 } (15, 34, 56, 57, 58, 60, 162, 231, 306, 435);
  for my $number (0 .. 461) {
    next if $skip{$number};
    pipe(my $from, my $to);
    my $child = fork();
    if ($child == 0) {
      alarm(5);
      open(STDIN, '<', '/dev/null');
      $! = 0;
      my $result = syscall($number, -1, -1, -1, -1, -1, -1);
      my $refused = $result == -1 && ($! == POSIX::EPERM || $! == POSIX::ENOSYS);
      syswrite($to, $refused ? "refused" : "passed");
      POSIX::_exit(0);
    }
    close($to);
    sysread($from, my $answer, 16);
    waitpid($child, 0);
    print "$number ", length($answer // '') ? $answer : "passed", "\\n";
  }
`;

/** Ways into other namespaces, and ways out. Prints how each ends. */
export const NAMESPACE_CALLS = `
  use POSIX ();
  my %flags = (mnt => 0x20000, cgroup => 0x2000000, uts => 0x4000000, ipc => 0x8000000, user => 0x10000000, pid => 0x20000000, net => 0x40000000);
  for my $name (sort keys %flags) {
    my $child = fork();
    if ($child == 0) {
      my $result = syscall(272, $flags{$name});
      print "unshare $name ", $result == 0 ? 'passed' : 'refused', "\\n";
      # clone with the flag and SIGCHLD: where it works, the new process ends at once.
      my $made = syscall(56, $flags{$name} | 17, 0, 0, 0, 0);
      POSIX::_exit(0) if $made == 0;
      print "clone $name ", $made > 0 ? 'passed' : 'refused', "\\n";
      $| = 1;
      print '';
      POSIX::_exit(0);
    }
    waitpid($child, 0);
  }
  my @three = (0) x 11;
  my $arguments = pack('Q11', @three);
  my $result = syscall(435, $arguments, 88);
  POSIX::_exit(0) if $result == 0;
  print 'clone3 ', $result > 0 ? 'passed' : "refused $!", "\\n";
`;
