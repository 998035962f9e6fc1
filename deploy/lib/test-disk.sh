# A file system of its own for what a test run makes. Sourced.
#
# Tests make and remove files by the hundred thousand. An ext4 without a journal, as some virtual machines have, looks at
# every inode that was freed in the last minutes before it hands out another: a file takes up to a millisecond then, ten
# times what it takes with a journal.

# Sparse: it takes what is in it.
TEST_DISK_SIZE=64G

# Whether what lies at a path is on an ext4 without a journal.
lacks_journal() { # PATH
  local device
  [ "$(stat -f -c %T "$1")" = ext2/ext3 ] && [ -d /proc/fs/ext4 ] || return 1
  device=$(df --output=source "$1" | tail -n 1)
  [ -e "/proc/fs/ext4/${device##*/}" ] && ! compgen -G "/proc/fs/jbd2/${device##*/}-*" >/dev/null
}

# take_disk DIRECTORY: mounts it there if that helps. Where it cannot, the directory stays what it is.
take_disk() {
  local file
  is_root && have mkfs.ext4 && lacks_journal "$1" || return 0
  # Not named after the directory: of what is, a loop device that is left over is a failure.
  file=$(mktemp /tmp/mbd.XXXXXX)
  truncate -s "$TEST_DISK_SIZE" "$file" && mkfs.ext4 -q -F -i 65536 -m 0 "$file" &&
    mount -o loop,noatime,nobarrier,noinit_itable "$file" "$1" || say 'no file system of their own for the tests: they take longer'
  # The mount keeps it.
  rm -f "$file"
}

leave_disk() { # DIRECTORY
  if mountpoint -q "$1"; then umount --lazy "$1"; fi
}
