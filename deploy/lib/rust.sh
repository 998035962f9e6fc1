# The Rust toolchain, and boxinit. Sourced.

# Packages of what is missing to build boxinit, by Debian's names.
rust_packages() {
  if ! have cargo || ! have rustc; then echo cargo rustc; fi
  # boxinit is linked statically against glibc, whose archive is in libc6-dev.
  if ! have cc || ! [ -e "$(cc -print-file-name=libc.a 2>/dev/null)" ]; then echo gcc libc6-dev; fi
}

install_rust() {
  local missing
  missing=$(rust_packages)
  if [ -z "$missing" ]; then return 0; fi
  step 'Rust toolchain'
  can_apt || fail "missing: $(echo $missing); install them (as root on Debian or Ubuntu this is done for you)"
  # Unquoted on purpose: one word a package.
  apt_install $missing || fail "apt-get could not install $(echo $missing): $(reason "$APT_LOG")"
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
  if ! [ -x "$(boxinit_dir)/boxinit" ]; then
    step 'boxinit, the supervisor of each sandbox'
    say 'cargo build (a minute or two)'
  fi
  : >"$log"
  if ! patiently "$log" cargo build --release --offline --target "$(rust_target)"; then
    cat "$log" >&2
    fail "boxinit does not build, see the lines above; $(reason "$log")"
  fi
  for file in boxinit millibox-true spawn-loop flood; do
    [ -x "$(boxinit_dir)/$file" ] || fail "the build of boxinit made no $file"
  done
}

# boxinit_tests [OPTION...]: the tests are compiled for speed of compilation; the boxinit that they try is the one that is
# shipped.
boxinit_tests() {
  (cd "$ROOT/agent/boxinit" &&
    MILLIBOX_TEST_BOXINIT=$(boxinit_dir)/boxinit cargo test --profile checked --offline --target "$(rust_target)" "$@")
}
