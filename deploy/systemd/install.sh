#!/usr/bin/env bash
# Installs the service on a plain server, as root: programs in /opt/millibox, secrets in /etc/millibox, systemd units.
# Run it again to upgrade: running sandboxes are not touched, a command under way goes on.
#
#   bash deploy/systemd/install.sh [gateway] [agent]      default: both
#
# DESTDIR: install below this directory, and start nothing.
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
source "$ROOT/deploy/lib/rust.sh"

DESTDIR=${DESTDIR:-}
roles=("$@")
if [ "$#" = 0 ]; then roles=(gateway agent); fi
for role in "${roles[@]}"; do
  case $role in
  gateway | agent) ;;
  *) fail "no role '$role'; there are: gateway agent" ;;
  esac
done
wants() { [[ " ${roles[*]} " == *" $1 "* ]]; }

step 'Building'
bash "$ROOT/deploy/setup.sh" deps build
if wants agent; then
  bash "$ROOT/deploy/setup.sh" rust boxinit
  if [ -z "$DESTDIR" ]; then bash "$ROOT/deploy/setup.sh" oci; fi
fi

step "Programs: $DESTDIR/opt/millibox"
home=$DESTDIR/opt/millibox
install -d "$home/bin" "$home/docs"
# Beside the old ones first: what runs keeps its files until it is restarted.
put_directory() { # FROM NAME
  rm -rf "${home:?}/$2.new" "${home:?}/$2.old"
  cp -R "$1" "$home/$2.new"
  if [ -e "$home/$2" ]; then mv "$home/$2" "$home/$2.old"; fi
  mv "$home/$2.new" "$home/$2"
  rm -rf "${home:?}/$2.old"
}
put_program() { # FROM NAME
  install -m 0755 "$1" "$home/bin/.$2.new"
  mv "$home/bin/.$2.new" "$home/bin/$2"
}

# Only what runs: the tools of development stay here.
runtime=$(mktemp -d)
trap 'rm -rf "$runtime"' EXIT
cp -R "$ROOT/package.json" "$ROOT/package-lock.json" "$ROOT/node_modules" "$runtime"
(cd "$runtime" && npm prune --omit=dev --offline --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2) ||
  fail 'npm prune failed; see the lines above'
put_directory "$runtime/node_modules" node_modules
put_directory "$ROOT/dist" dist
install -m 0644 "$ROOT/package.json" "$home/package.json"
install -m 0644 "$ROOT/docs/deploy.md" "$home/docs/deploy.md"
put_program "$(readlink -f "$ROOT/node_modules/.bin/node")" node
printf '#!/bin/sh\nexec /opt/millibox/bin/node /opt/millibox/dist/src/cli/main.js "$@"\n' >"$runtime/millibox"
put_program "$runtime/millibox" millibox
if wants agent; then put_program "$(boxinit_dir)/boxinit" boxinit; fi

step "Secrets and settings: $DESTDIR/etc/millibox"
bash "$ROOT/deploy/systemd/secrets.sh" "$DESTDIR/etc/millibox"

step 'Units'
install -d "$DESTDIR/etc/systemd/system"
for role in "${roles[@]}"; do
  install -m 0644 "$ROOT/deploy/systemd/millibox-$role.service" "$DESTDIR/etc/systemd/system/"
  [ -e "$DESTDIR/etc/millibox/$role.env" ] ||
    install -m 0600 "$ROOT/deploy/systemd/$role.env" "$DESTDIR/etc/millibox/$role.env"
done
if [ -n "$DESTDIR" ]; then exit 0; fi

have systemctl || fail 'there is no systemd on this machine; everything is installed, nothing is started'
systemctl daemon-reload
for role in "${roles[@]}"; do
  systemctl enable "millibox-$role" >&2
  systemctl restart "millibox-$role"
  say "millibox-$role runs; its log: journalctl -u millibox-$role"
done
