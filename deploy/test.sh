#!/usr/bin/env bash
# `npm test`: the set-up of `npm start`, then every test against the real engine. Ends with `N passed, N failed`.
# With arguments, only vitest with these: `npm test -- test/e2e/restart.test.ts`.
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
source "$ROOT/deploy/lib/rust.sh"
source "$ROOT/deploy/lib/test-disk.sh"

bash "$ROOT/deploy/setup.sh" all tools
cd "$ROOT"

# Everything that a test makes lies below this directory, so that what is left of it can be told from all else. The
# path is short: it is part of the paths of unix sockets.
RUN=$(mktemp -d /tmp/mbt.XXXXXX)
RESULTS=$RUN/r
# What a test failed to unmount must not be emptied with it.
trap 'kill $(jobs -p) 2>/dev/null || true; leave_disk "$RUN"; rm -rf --one-file-system "$RUN"' EXIT
take_disk "$RUN"
mkdir "$RESULTS"
# Programs that run as another user in a test must be able to pass through.
chmod 711 "$RUN" "$RESULTS"
export MILLIBOX_TEST_RUN=$RESULTS TMPDIR=$RESULTS
FAILED=$RESULTS/failed-phases.log
: >"$FAILED"

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
  if [ "$status" != 0 ]; then echo "$name" >>"$FAILED"; fi
}

run_vitest() { # PHASE SECONDS ARGUMENTS...
  local phase=$1 seconds=$2
  shift 2
  MILLIBOX_TEST_PHASE=$phase watched "$phase tests" "$seconds" \
    vitest run --reporter=default --reporter=./test/helpers/results-reporter.ts "$@"
}

export -f boxinit_tests boxinit_dir rust_target
export ROOT

if [ "$#" -gt 0 ]; then
  run_vitest chosen 1800 "$@"
else
  # Beside each other: those of boxinit wait for most of their time.
  watched 'boxinit tests' 900 bash -c 'boxinit_tests 2>&1' >"$RESULTS/cargo.log" &
  boxinit=$!
  run_vitest unit 900 --project unit
  wait "$boxinit" || true
  cat "$RESULTS/cargo.log"
  run_vitest real 2400 --project real
  run_vitest last 420 --project last
fi

# The last lines: what failed and what was skipped, by name, then the counts.
mapfile -t failed_phases <"$FAILED"
node test/helpers/summary.ts report "$RESULTS" "${failed_phases[@]}"
