# What a machine must have for the rest to be possible. Sourced.

ROOM_MB=4000

# Everything that only root on Debian or Ubuntu can be given, in one line, before anything that takes minutes.
check_machine() {
  local missing=() refusal
  check_node
  if can_apt || { [ -z "$(rust_packages)" ] && engine_answers; }; then
    check_room
    return 0
  fi
  refusal=$(engine_refusal)
  if [ -n "$refusal" ]; then fail "$refusal"; fi
  if [ -n "$(rust_packages)" ]; then missing+=('a Rust toolchain (cargo, rustc, gcc, the static C library)'); fi
  # root can start the engine that is installed.
  if ! engine_answers && ! { is_root && have dockerd; }; then missing+=('a Docker engine that answers'); fi
  if [ "${#missing[@]}" = 0 ]; then return 0; fi
  local all
  all=$(printf ' and %s' "${missing[@]}")
  if have apt-get; then
    fail "this machine lacks ${all# and }; run this as root, which installs them, or install them yourself"
  fi
  fail "this machine lacks ${all# and }, and this is not Debian or Ubuntu, where they are installed for you; install them and start again"
}

# A first start takes three to four gigabytes, a later one next to nothing.
check_room() {
  local free
  [ -f "$MILLIBOX_HOME/base/default-image" ] && return 0
  free=$(df -Pm "$MILLIBOX_HOME" 2>/dev/null | awk 'NR == 2 { print $4 }')
  if [ -n "$free" ] && [ "$free" -lt "$ROOM_MB" ]; then
    say "only $free MB are free below $MILLIBOX_HOME; a first start may take $ROOM_MB MB"
  fi
}
