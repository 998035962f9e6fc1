#!/usr/bin/env bash
# `npm start`: set up what is missing, build, start gateway and agent, show one sandbox at work, stay up.
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

bash "$ROOT/deploy/setup.sh" all
cd "$ROOT"
exec node dist/src/cli/main.js up --demo "$@"
