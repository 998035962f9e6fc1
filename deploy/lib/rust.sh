# The Rust toolchain, and boxinit. Sourced.

install_rust() {
  local missing=()
  if ! have cargo || ! have rustc; then missing+=(cargo rustc); fi
  # boxinit is linked statically against glibc, whose archive is in libc6-dev.
  if ! have cc || ! [ -e "$(cc -print-file-name=libc.a 2>/dev/null)" ]; then missing+=(gcc libc6-dev); fi
  if [ "${#missing[@]}" = 0 ]; then return 0; fi
  step 'Rust toolchain'
  can_apt || fail "missing: ${missing[*]}; install them (as root on Debian or Ubuntu this is done for you)"
  apt_install "${missing[@]}" || fail "apt-get could not install ${missing[*]}; see $MILLIBOX_HOME/log/apt.log"
}

install_rustfmt() {
  if cargo fmt --version >/dev/null 2>&1; then return 0; fi
  can_apt && apt_install rustfmt || true
}

# The directory of what was built. The target is named, so that static linking applies to the programs alone.
rust_target() { rustc -vV | sed -n 's/^host: //p'; }
boxinit_dir() { echo "$ROOT/agent/boxinit/target/$(rust_target)/release"; }

build_boxinit() {
  cd "$ROOT/agent/boxinit"
  local log=$MILLIBOX_HOME/log/boxinit-build.log file
  if ! cargo build --release --offline --target "$(rust_target)" </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    fail 'boxinit does not build; see the lines above'
  fi
  if grep -q Compiling "$log"; then step 'boxinit built'; fi
  for file in boxinit millibox-true spawn-loop flood; do
    [ -x "$(boxinit_dir)/$file" ] || fail "the build of boxinit made no $file"
  done
}
