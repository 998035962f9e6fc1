# A Docker engine that answers. Sourced. A docker command line alone says nothing: the daemon may be missing or dead.

engine_answers() { have docker && timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# What keeps this user from the engine, where it is neither missing nor dead.
engine_refusal() {
  local answer
  have docker || return 0
  answer=$(timeout 10 docker version 2>&1 || true)
  if grep -qi 'permission denied' <<<"$answer"; then
    echo "a Docker engine runs, but $(id -un) may not use it; run this as root, or 'usermod -aG docker $(id -un)' as root and log in anew"
  elif [ -n "${DOCKER_HOST:-}" ]; then
    echo "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST; unset it, or start the engine there"
  fi
}

# Name of a living process. One that was killed and not yet reaped (process 1 of a container may never do it) is dead.
process_name() {
  if ! grep -qs '^State:.[ZX]' "/proc/$1/status"; then cat "/proc/$1/comm" 2>/dev/null || true; fi
}
alive() { [ -n "$(process_name "$1")" ]; }

# A daemon that was killed leaves its pid file; dockerd refuses to start while *any* process has that pid.
drop_stale_pid() { # FILE EXPECTED-NAME
  local file=$1 name=$2 pid
  [ -f "$file" ] || return 0
  pid=$(tr -dc 0-9 <"$file")
  if [ -z "$pid" ] || [ "$(process_name "$pid")" != "$name" ]; then rm -f "$file"; fi
}

wait_for_engine() { # SECONDS [PID]
  local deadline=$((SECONDS + $1)) pid=${2:-}
  while [ "$SECONDS" -lt "$deadline" ]; do
    if engine_answers; then return 0; fi
    # The daemon ended: no use in waiting on.
    if [ -n "$pid" ] && ! alive "$pid"; then return 1; fi
    sleep 0.3
  done
  return 1
}

own_dockerd() { # Prints the pid of a daemon that this script started, if one runs.
  local pid
  pid=$(cat "$MILLIBOX_HOME/run/dockerd.pid" 2>/dev/null | tr -dc 0-9 || true)
  if [ -n "$pid" ] && [ "$(process_name "$pid")" = dockerd ]; then echo "$pid"; fi
}

start_dockerd() { # [EXTRA OPTIONS...]
  local run=$MILLIBOX_HOME/run log=$MILLIBOX_HOME/log/dockerd.log pid
  pid=$(own_dockerd)
  if [ -n "$pid" ]; then
    # Ours and silent: it may still be starting.
    if wait_for_engine 45 "$pid"; then return 0; fi
    say "the engine with pid $pid does not answer; starting it anew"
    kill -9 "$pid" 2>/dev/null || true
    while alive "$pid"; do sleep 0.1; done
  fi
  drop_stale_pid "$run/dockerd.pid" dockerd
  drop_stale_pid /var/run/docker.pid dockerd
  # dockerd looks after a containerd of its own and trusts this file in the same way.
  drop_stale_pid /var/run/docker/containerd/containerd.pid containerd
  ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -Hn)" || true
  ulimit -u unlimited 2>/dev/null || true
  spawn_daemon "$log" dockerd --data-root "$MILLIBOX_HOME/docker" --pidfile "$run/dockerd.pid" \
    --host unix:///var/run/docker.sock "$@"
  # dockerd writes its pid file a moment after it starts.
  local deadline=$((SECONDS + 20))
  while [ -z "$(own_dockerd)" ] && [ "$SECONDS" -lt "$deadline" ] && ! engine_answers; do sleep 0.2; done
  wait_for_engine 90 "$(own_dockerd)"
}

start_engine() {
  if [ -d /run/systemd/system ] && have systemctl; then
    systemctl start docker >/dev/null 2>&1 && wait_for_engine 60 && return 0
  fi
  have dockerd || return 1
  start_dockerd && return 0
  # Some kernels and containers offer no iptables. Sandboxes without a network do not need it.
  say 'dockerd did not come up; once more, without a bridge network'
  start_dockerd --iptables=false --bridge=none
}

install_engine() {
  local refusal
  if engine_answers; then return 0; fi
  step 'Docker engine'
  refusal=$(engine_refusal)
  if [ -n "$refusal" ]; then fail "$refusal"; fi
  if ! is_root; then
    fail 'no Docker engine answers, and only root can start one; start Docker (or run this as root) and try again'
  fi
  if ! have dockerd; then
    can_apt || fail 'no Docker engine is installed and this is not Debian or Ubuntu; install Docker Engine and try again'
    apt_install docker.io || fail "apt-get could not install docker.io: $(reason "$APT_LOG")"
    # Newer releases keep the command line in a package of its own.
    have docker || apt_install docker-cli || true
    if engine_answers; then return 0; fi
  fi
  say 'starting dockerd'
  if ! start_engine; then
    tail -n 15 "$MILLIBOX_HOME/log/dockerd.log" >&2 2>/dev/null || true
    fail "the Docker engine does not start; see the lines above: $(reason "$MILLIBOX_HOME/log/dockerd.log")"
  fi
  say "engine $(docker version --format '{{.Server.Version}}') answers"
}
