#!/usr/bin/env bash
# `npm run -s bench`: what the bench itself runs on and compares with. A server that it starts sets up the rest.
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

steps=(deps rust boxinit)
for word in "$@"; do
  case $word in -h | --help) steps=(deps) ;; esac
done
# Only the result goes to stdout.
bash "$ROOT/deploy/setup.sh" "${steps[@]}" >&2
cd "$ROOT"
exec node bench/main.ts "$@"
