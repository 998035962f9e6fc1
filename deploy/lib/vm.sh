# A virtual machine with control groups of version 2 and systemd, for the tests of what this machine may not have. Sourced.
#
# Kernel, initial file system and disk are made from the distribution's packages once, and kept. No virtualisation is needed:
# the processor is emulated, ten times slower. Nothing of the machine's own is in it; tests lend it the repository.

VM_DIR=$MILLIBOX_HOME/vm
VM_SUITE=bookworm
VM_MIRROR=http://deb.debian.org/debian
VM_PACKAGES=linux-image-amd64,systemd-sysv,dbus,libpam-systemd,udev,kmod,procps,iproute2,nftables,ca-certificates,mount
VM_PACKAGES+=,python3,e2fsprogs,runc,skopeo,umoci,bubblewrap,golang-github-containers-common,netavark,openssh-server

# What is made: other packages or another way to make them, another disk.
vm_sum() { cat "$ROOT/deploy/lib/vm.sh" "$ROOT"/deploy/lib/vm/* | sha256sum | cut -d' ' -f1; }

build_vm() {
  local sum work
  sum=$(vm_sum)
  if [ "$(cat "$VM_DIR/version" 2>/dev/null)" = "$sum" ] && have qemu-system-x86_64; then return 0; fi
  step 'A virtual machine with control groups of version 2'
  if ! can_apt || [ "$(uname -m)" != x86_64 ]; then
    say 'it is made by root, from packages of Debian for x86_64; its tests are skipped, by name'
    return 0
  fi
  apt_install qemu-system-x86 debootstrap e2fsprogs openssh-client || { say 'no emulator here; its tests are skipped, by name'; return 0; }
  say "debootstrap $VM_SUITE (once; three minutes)"
  work=$(mktemp -d "$MILLIBOX_HOME/run/vm.XXXXXX")
  if make_vm_disk "$work" >>"$MILLIBOX_HOME/log/vm.log" 2>&1; then
    mkdir -p "$VM_DIR"
    mv "$work/kernel" "$work/initrd" "$work/disk.img" "$VM_DIR/"
    echo "$sum" >"$VM_DIR/version"
  else
    say "it cannot be made here (see $MILLIBOX_HOME/log/vm.log); its tests are skipped, by name"
  fi
  rm -rf --one-file-system "$work"
}

make_vm_disk() { # DIRECTORY: makes kernel, initrd and disk.img in it
  local root=$1/root
  debootstrap --variant=minbase --include="$VM_PACKAGES" "$VM_SUITE" "$root" "$VM_MIRROR" || return 1
  install -m 0755 "$ROOT/deploy/lib/vm/guest-loop" "$root/usr/local/bin/guest-loop" || return 1
  install -m 0644 "$ROOT/deploy/lib/vm/guest.service" "$root/etc/systemd/system/guest.service"
  chroot "$root" systemctl enable guest.service || return 1
  # Nothing is to run there by itself.
  chroot "$root" systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer || return 1
  echo millibox-vm >"$root/etc/hostname"
  # A session of a user is opened over the loopback.
  install -d -m 0700 "$root/root/.ssh"
  ssh-keygen -q -N '' -t ed25519 -f "$root/root/.ssh/id_ed25519" </dev/null || return 1
  cp "$root/root/.ssh/id_ed25519.pub" "$root/root/.ssh/authorized_keys"
  cp "$root"/boot/vmlinuz-* "$1/kernel" || return 1
  cp "$root"/boot/initrd.img-* "$1/initrd" || return 1
  rm -rf "$root"/boot/* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  mkfs.ext4 -q -d "$root" "$1/disk.img" 4G
}
