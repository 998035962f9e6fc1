# Programs from the distribution's packages that the oci runtime uses, and those that only tests use. Sourced.

SECCOMP_PROFILE=/usr/share/containers/seccomp.json

missing_packages() { # lines "PROGRAM-OR-FILE PACKAGE" on stdin
  local probe package
  while read -r probe package; do
    case $probe in
    /*) [ -e "$probe" ] || echo "$package" ;;
    *) have "$probe" || echo "$package" ;;
    esac
  done | sort -u
}

oci_packages() {
  missing_packages <<LIST
runc runc
skopeo skopeo
umoci umoci
bwrap bubblewrap
nft nftables
ip iproute2
setpriv util-linux
mkfs.ext4 e2fsprogs
losetup mount
$SECCOMP_PROFILE golang-github-containers-common
LIST
}

test_packages() {
  missing_packages <<LIST
docker-registry docker-registry
redis-server redis-server
openssl openssl
tmux tmux
sysctl procps
systemd-analyze systemd
runsc runsc
crun crun
LIST
}

install_oci() {
  local missing
  missing=$(oci_packages)
  if [ -z "$missing" ]; then return 0; fi
  step 'Tools of the oci runtime'
  if ! can_apt; then
    say "missing: $(echo $missing); the docker runtime is used instead"
    return 0
  fi
  # Unquoted on purpose: one word a package.
  apt_install $missing || say "not all of these could be installed: $(echo $missing); the docker runtime is used instead"
}

install_test_tools() {
  local missing package
  missing=$(test_packages)
  if [ -z "$missing" ]; then return 0; fi
  step 'Programs that only the tests use'
  if ! can_apt; then
    say "missing: $(echo $missing); tests that need them are skipped, by name"
    return 0
  fi
  # One by one: a distribution that lacks one of them still gives the others.
  for package in $missing; do
    apt_install "$package" && continue
    say "no package $package here; its tests are skipped, by name"
    # The next would only wait for it in vain.
    if mirror_was_away "$APT_LOG"; then break; fi
  done
  # A package may start a service of its own, which the tests neither need nor want.
  for package in docker-registry redis-server; do
    if [ -d /run/systemd/system ] && grep -qx "$package" <<<"$missing"; then
      systemctl disable --now "$package" >/dev/null 2>&1 || true
    fi
  done
}
