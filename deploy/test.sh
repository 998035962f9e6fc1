#!/usr/bin/env bash
# `npm test`: the set-up of `npm start`, then every test against the real engine. Ends with `N passed, N failed`.
# With arguments, only vitest with these: `npm test -- test/e2e/restart.test.ts`.
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
source "$ROOT/deploy/lib/rust.sh"

bash "$ROOT/deploy/setup.sh" all tools
cd "$ROOT"

# Everything that a test makes lies below this directory, so that what is left of it can be told from all else. The
# path is short: it is part of the paths of unix sockets.
RESULTS=$(mktemp -d /tmp/mbt.XXXXXX)
# Programs that run as another user in a test must be able to pass through.
chmod 711 "$RESULTS"
export MILLIBOX_TEST_RUN=$RESULTS TMPDIR=$RESULTS
# What a test failed to unmount must not be emptied with it.
trap 'rm -rf --one-file-system "$RESULTS"' EXIT
failed_phases=()

# watched NAME SECONDS COMMAND...: a phase that hangs is ended, with what it was at, and counts as failed.
watched() {
  local name=$1 seconds=$2 status=0
  shift 2
  step "$name"
  timeout --kill-after=20 "$seconds" "$@" </dev/null || status=$?
  if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    say "WATCHDOG: $name did not end within $seconds seconds"
    node test/helpers/summary.ts hanging "$RESULTS" >&2 || true
  fi
  if [ "$status" != 0 ]; then failed_phases+=("$name"); fi
}

run_vitest() { # PHASE SECONDS ARGUMENTS...
  local phase=$1 seconds=$2
  shift 2
  MILLIBOX_TEST_PHASE=$phase watched "$phase tests" "$seconds" \
    vitest run --reporter=default --reporter=./test/helpers/results-reporter.ts "$@"
}

# The tests are compiled for speed of compilation; the boxinit that they try is the one that is shipped.
RUST_TARGET=$(rust_target)
MILLIBOX_TEST_BOXINIT=$(boxinit_dir)/boxinit
export RUST_TARGET MILLIBOX_TEST_BOXINIT RESULTS
cargo_tests() {
  (cd agent/boxinit && cargo test --profile checked --offline --target "$RUST_TARGET" 2>&1) | tee "$RESULTS/cargo.log"
}
export -f cargo_tests

if [ "$#" -gt 0 ]; then
  run_vitest chosen 1800 "$@"
else
  watched 'boxinit tests' 600 bash -o pipefail -c cargo_tests
  run_vitest unit 600 --project unit
  run_vitest real 2400 --project real
  run_vitest last 420 --project last
fi

# The last lines: what failed and what was skipped, by name, then the counts.
node test/helpers/summary.ts report "$RESULTS" "${failed_phases[@]}"
