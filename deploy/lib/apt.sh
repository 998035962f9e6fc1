# Packages of the distribution. Sourced.

APT_LOG=$MILLIBOX_HOME/log/apt.log

can_apt() { have apt-get && is_root; }

apt_get() {
  local alone=()
  # Beside another set-up: of the lists apt itself does not wait for the lock. The lock is not for daemons that it starts.
  if have flock; then alone=(flock --close --timeout 900 "$MILLIBOX_HOME/run/apt.lock"); fi
  # A fresh machine may still be running its own unattended upgrade: wait for the lock, and never ask anything.
  patiently "$APT_LOG" "${alone[@]}" apt-get -y -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 \
    -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o APT::Get::Always-Include-Phased-Updates=true \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

apt_updated=
# apt_install PACKAGE...: all of them or a failure, after one retry with fresh lists.
apt_install() {
  say "apt-get install $*"
  # What an earlier, interrupted run left half configured would make every later install fail.
  dpkg --configure -a </dev/null >>"$APT_LOG" 2>&1 9>&- || true
  if [ -z "$apt_updated" ]; then
    # One unreachable extra source does not matter if the packages can still be had.
    apt_get update || true
    apt_updated=1
  fi
  apt_get install --no-install-recommends "$@" && return 0
  sleep 3
  apt_get update || true
  apt_get install --no-install-recommends "$@"
}
