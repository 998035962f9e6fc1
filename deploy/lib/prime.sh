# The official Prime clients, each in a virtual environment of its own, for the tests of that door. Sourced.
#
# They live under $MILLIBOX_HOME/prime-venvs/NAME, are made once, and count as there when NAME/.ready is. Where they
# cannot be had the tests that need them are skipped, by name.

PRIME_VENVS=$MILLIBOX_HOME/prime-venvs

# NAME REQUIREMENT...
prime_environments() {
  cat <<LIST
0.2.36 prime-sandboxes==0.2.36
0.2.39 prime-sandboxes==0.2.39
newest prime-sandboxes
cli prime
verifiers-legacy verifiers==0.2.0 prime-sandboxes==0.2.36
verifiers-newest verifiers
LIST
}

# A Python that all of these run on, with venv.
prime_python() {
  local each
  for each in python3.12 python3.13 python3.11 python3; do
    if "$each" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$each"
      return 0
    fi
  done
  return 1
}

install_prime() {
  local missing name requirements python
  missing=$(prime_environments | while read -r name _; do prime_fresh "$name" || echo "$name"; done)
  if [ -z "$missing" ]; then return 0; fi
  step 'The Prime clients'
  if ! python=$(prime_python); then
    if can_apt; then apt_install python3 python3-venv || true; fi
    if ! python=$(prime_python); then
      say 'no Python from 3.11 to 3.13 with venv; the tests of the Prime clients are skipped, by name'
      return 0
    fi
  fi
  mkdir -p "$PRIME_VENVS"
  while read -r name requirements; do
    if prime_fresh "$name"; then continue; fi
    # Unquoted on purpose: one word a requirement.
    prime_make "$python" "$name" $requirements || {
      say "$name cannot be installed (see $MILLIBOX_HOME/log/pip.log); its tests are skipped, by name"
      # Where the index cannot be reached, the others would only wait for it in vain.
      tail -n 50 "$MILLIBOX_HOME/log/pip.log" | grep -qiE 'connection|timed out|resolution|unreachable' && return 0
    }
  done < <(prime_environments)
}

# What is pinned is there for good; the newest is looked for again once a day.
prime_fresh() {
  local ready=$PRIME_VENVS/$1/.ready
  [ -e "$ready" ] || return 1
  case $1 in
  newest | verifiers-newest | cli) [ -n "$(find "$ready" -mmin -1440)" ] ;;
  esac
}

prime_make() { # PYTHON NAME REQUIREMENT...
  local python=$1 name=$2 dir=$PRIME_VENVS/$2 try
  shift 2
  say "pip install $*"
  for try in 1 2; do
    if [ ! -x "$dir/bin/pip" ]; then
      rm -rf "$dir"
      "$python" -m venv "$dir" >>"$MILLIBOX_HOME/log/pip.log" 2>&1 || return 1
    fi
    if patiently "$MILLIBOX_HOME/log/pip.log" timeout 600 "$dir/bin/pip" install --quiet --upgrade --upgrade-strategy only-if-needed --no-input \
      --disable-pip-version-check --retries 2 --timeout 15 "$@"; then
      touch "$dir/.ready"
      return 0
    fi
    sleep 2
  done
  # An older one that works is better than none.
  if [ -e "$dir/.ready" ]; then return 0; fi
  rm -rf "$dir"
  return 1
}
