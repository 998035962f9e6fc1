#!/usr/bin/env bash
# Creates the secrets of a service and a first administrator key. Existing files are left as they are.
#
#   bash deploy/systemd/secrets.sh [DIRECTORY]      default /etc/millibox
#
#   node-secret   the same on all machines of one service: copy it
#   api-keys      for the gateways: lines `tenant:sha256hex[:admin]`
#   admin-key     for clients; no part of the service reads it
set -euo pipefail
umask 077
dir=${1:-/etc/millibox}

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
# World-readable files in a directory that only root may enter: containers get single files mounted.
keep() { # NAME MODE, the content on stdin
  cat >"$dir/.$1.new"
  chmod "$2" "$dir/.$1.new"
  mv "$dir/.$1.new" "$dir/$1"
}

mkdir -p "$dir"
chmod 0700 "$dir"
if ! [ -e "$dir/node-secret" ]; then random | keep node-secret 0444; fi
if ! [ -e "$dir/api-keys" ]; then
  key=mbx_$(random)
  printf '%s\n' "$key" | keep admin-key 0400
  # The key is in no process's arguments.
  hash=$(printf %s "$key" | sha256sum | cut -d ' ' -f 1)
  printf 'admin:%s:admin\n' "$hash" | keep api-keys 0444
fi
