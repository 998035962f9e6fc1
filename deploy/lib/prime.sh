# The official Prime clients, each in a virtual environment of its own, for the tests of that door. Sourced.
#
# They live under $MILLIBOX_HOME/prime-venvs/NAME, are made once, and count as there when NAME/.ready is. Where they
# cannot be had the tests that need them are skipped, by name. uv installs all of them in less time than pip needs for one.

PRIME_VENVS=$MILLIBOX_HOME/prime-venvs
UV_PACKAGE=uv==0.13.9

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
  if ! prime_fresh uv && ! prime_make "$python" uv "$UV_PACKAGE"; then
    if index_was_away; then
      say 'the Python package index cannot be reached; the tests of the Prime clients are skipped, by name'
      return 0
    fi
    say "uv cannot be installed (see $MILLIBOX_HOME/log/pip.log); pip takes minutes instead"
  fi
  while read -r name requirements; do
    if prime_fresh "$name"; then continue; fi
    # Unquoted on purpose: one word a requirement.
    prime_make "$python" "$name" $requirements || {
      say "$name cannot be installed (see $MILLIBOX_HOME/log/pip.log); its tests are skipped, by name"
      # Where the index cannot be reached, the others would only wait for it in vain.
      if index_was_away; then return 0; fi
    }
  done < <(prime_environments)
}

index_was_away() { tail -n 50 "$MILLIBOX_HOME/log/pip.log" | grep -qiE 'connection|timed out|resolution|unreachable'; }

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
  if with_uv "$python" "$dir" "$@"; then return 0; fi
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

# with_uv PYTHON DIR REQUIREMENT...: exit 1 where there is no uv, or it cannot install them: pip may know a way to the index
# that uv does not.
with_uv() {
  local python=$1 dir=$2 uv=$PRIME_VENVS/uv/bin/uv settings
  shift 2
  [ -e "$PRIME_VENVS/uv/.ready" ] || return 1
  # uv does not read what pip is told.
  settings=$("$PRIME_VENVS/uv/bin/pip" config list 2>/dev/null || true)
  (
    export UV_CACHE_DIR=$PRIME_VENVS/uv/cache UV_SYSTEM_CERTS=1
    export_setting UV_DEFAULT_INDEX index-url
    export_setting UV_INDEX extra-index-url
    export_setting UV_FIND_LINKS find-links
    export_setting SSL_CERT_FILE cert
    [ -x "$dir/bin/python" ] || "$uv" venv --quiet --clear --python "$python" "$dir" >>"$MILLIBOX_HOME/log/pip.log" 2>&1 || exit 1
    patiently "$MILLIBOX_HOME/log/pip.log" timeout 600 "$uv" pip install --quiet --upgrade --python "$dir/bin/python" "$@"
  ) || return 1
  touch "$dir/.ready"
}

# export_setting VARIABLE NAME: with the value that pip has for NAME, if it has one and the variable has none.
export_setting() {
  local value
  value=$(sed -n "s/^[^.=]*\.$2='\(.*\)'$/\1/p" <<<"$settings" | tail -n 1)
  if [ -n "$value" ] && [ -z "${!1:-}" ]; then export "$1=$value"; fi
}
