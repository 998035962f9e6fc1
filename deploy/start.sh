#!/usr/bin/env bash
# `npm start`: set up what is missing, build, start gateway and agent, show one sandbox at work, stay up.
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

# `up` would say the same, minutes later.
[ "${#MILLIBOX_HOME}" -le 51 ] || fail "MILLIBOX_HOME is too long: the sockets below it have length limits, so it may have at most 51 bytes"
bash "$ROOT/deploy/setup.sh" all
cd "$ROOT"
exec node dist/src/cli/main.js up --demo "$@"
