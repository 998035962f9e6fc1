# Shared by every script here: where things are, how progress and failure look, how a daemon is started. Sourced.

set -euo pipefail
# Programs in sandboxes, which run as other users, read much of what is made here. Secrets get a mode of their own.
umask 022

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# A caller with a minimal environment (CI, cron) may have none of these.
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME
export PATH="$ROOT/node_modules/.bin:${PATH:-/usr/bin:/bin}:$HOME/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What went wrong is read from logs, and a machine may name a locale that it does not have.
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

if [ -z "${MILLIBOX_HOME:-}" ]; then
  if [ "$(id -u)" = 0 ]; then MILLIBOX_HOME=/var/lib/millibox; else MILLIBOX_HOME=$HOME/.millibox; fi
fi
export MILLIBOX_HOME
# Seconds between two words about a command that takes long.
PATIENCE_SECONDS=15

BASE_IMAGE_DEBIAN=millibox/debian:bookworm
BASE_IMAGE_REGISTRY=python:3.12-slim

is_root() { [ "$(id -u)" = 0 ]; }
have() { command -v "$1" >/dev/null 2>&1; }

BOLD='' PLAIN=''
if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then BOLD=$'\033[1m' PLAIN=$'\033[0m'; fi
step() { printf '\n%s==> %s%s\n' "$BOLD" "$*" "$PLAIN" >&2; }
say() { printf '    %s\n' "$*" >&2; }
fail() {
  printf '\nmillibox set-up: %s\n' "$*" >&2
  exit 1
}

# patiently LOG COMMAND...: runs it with its output at the end of LOG and, while it does, says now and then for how long and
# what it wrote last. With no LOG (''), its output is ours. It does not get the lock of with_lock: daemons that packages start
# at their installation would hold that for as long as they live.
patiently() {
  local log=$1 ticker status=0
  shift
  tick "$log" &
  ticker=$!
  if [ -n "$log" ]; then "$@" </dev/null >>"$log" 2>&1 9>&- || status=$?; else "$@" </dev/null >&2 9>&- || status=$?; fi
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  return "$status"
}

tick() { # LOG
  local start=$SECONDS never last=
  # A wait without a process of its own, which would outlive this one and keep the caller's stderr open.
  exec {never}<> <(:)
  until read -r -t "$PATIENCE_SECONDS" -u "$never" || [ "$?" -le 128 ] || ! [ -e "/proc/$$" ]; do
    if [ -n "$1" ]; then last=$(tail -n 1 "$1" 2>/dev/null | LC_ALL=C tr -cd '[:print:]' | cut -c 1-100); fi
    say "$((SECONDS - start)) s${last:+: $last}"
  done
}

disk_was_full() { tail -n 40 "$1" 2>/dev/null | grep -qaiE 'No space left|ENOSPC|enough free space|quota exceeded'; } # LOG

mirror_was_away() { # LOG
  tail -n 40 "$1" 2>/dev/null | grep -qaiE 'could not resolve|temporary failure|unable to resolve|could not connect|cannot initiate the connection|unable to connect|unreachable|connection timed out|connection refused|no servers could'
}

# reason LOG: why what wrote it failed, and what to do, where its last lines tell; else where it is.
reason() {
  if disk_was_full "$1"; then
    echo "the disk is full; make room (df -h shows where) and start again"
  elif mirror_was_away "$1"; then
    echo "the package mirror cannot be reached; check this machine's network (and its proxy, if it has one) and start again"
  else
    echo "its log is $1"
  fi
}

prepare_home() {
  case $MILLIBOX_HOME in
  /*) ;;
  *) fail "MILLIBOX_HOME is '$MILLIBOX_HOME'; it must be an absolute path" ;;
  esac
  case ${MILLIBOX_REGISTRY:-} in
  '' | off) ;;
  *) fail "MILLIBOX_REGISTRY is '$MILLIBOX_REGISTRY'; it must be 'off' or not set" ;;
  esac
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
    flock -n 9 || say "waiting for another set-up on this machine ($name)"
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
