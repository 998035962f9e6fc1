# Shared by every script here: where things are, how progress and failure look, how a daemon is started. Sourced.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# A caller with a minimal environment (CI, cron) may have none of these.
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME
export PATH="$ROOT/node_modules/.bin:${PATH:-/usr/bin:/bin}:$HOME/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export DEBIAN_FRONTEND=noninteractive

if [ -z "${MILLIBOX_HOME:-}" ]; then
  if [ "$(id -u)" = 0 ]; then MILLIBOX_HOME=/var/lib/millibox; else MILLIBOX_HOME=$HOME/.millibox; fi
fi
export MILLIBOX_HOME

BASE_IMAGE_DEBIAN=millibox/debian:bookworm
BASE_IMAGE_REGISTRY=python:3.12-slim

is_root() { [ "$(id -u)" = 0 ]; }
have() { command -v "$1" >/dev/null 2>&1; }

step() { printf '\n\033[1m==> %s\033[0m\n' "$*" >&2; }
say() { printf '    %s\n' "$*" >&2; }
fail() {
  printf '\nmillibox set-up: %s\n' "$*" >&2
  exit 1
}

prepare_home() {
  mkdir -p "$MILLIBOX_HOME/base" "$MILLIBOX_HOME/log" "$MILLIBOX_HOME/run" ||
    fail "cannot write to $MILLIBOX_HOME; set MILLIBOX_HOME to a directory of yours"
  # 0711: containers run as other users and must reach the socket directories below, but nobody lists this one.
  chmod 0711 "$MILLIBOX_HOME"
}

# with_lock NAME COMMAND...: one set-up of a kind at a time on this machine. Waits at most 15 minutes.
with_lock() {
  local name=$1
  shift
  if ! have flock; then
    "$@"
    return
  fi
  (
    flock -w 900 9 || fail "another set-up has held the lock $name for 15 minutes"
    "$@"
  ) 9>"$MILLIBOX_HOME/run/$name.lock"
}

# spawn_daemon LOG COMMAND...: in a session of its own, with nothing of the caller's open: a daemon that keeps the
# caller's stdout makes whoever waits for that stdout wait for ever.
spawn_daemon() {
  local log=$1
  shift
  (
    cd /
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
    done 2>/dev/null
    exec setsid nohup "$@" </dev/null >>"$log" 2>&1
  ) &
  disown
}
