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
put_directory() { # NAME, with the new one in NAME.new
  rm -rf "${home:?}/$1.old"
  if [ -e "$home/$1" ]; then mv "$home/$1" "$home/$1.old"; fi
  mv "$home/$1.new" "$home/$1"
  rm -rf "${home:?}/$1.old"
}
# The tools of development stay in the clone. What lies inside of a package comes with it.
needed_packages() {
  local path modules
  # npm names them by where they really are, whatever links lead there.
  modules=$(cd "$ROOT" && pwd -P)/node_modules
  (cd "$ROOT" && npm ls --omit=dev --all --parseable </dev/null) | while IFS= read -r path; do
    case $path in
    "$modules"/*/node_modules/*) ;;
    "$modules"/*) printf '%s\n' "${path#"$modules"/}" ;;
    esac
  done
}
put_program() { # NAME, with the content on stdin
  cat >"$home/bin/.$1.new"
  chmod 0755 "$home/bin/.$1.new"
  mv "$home/bin/.$1.new" "$home/bin/$1"
}

rm -rf "${home:?}"/*.new
cp -R "$ROOT/dist" "$home/dist.new"
mkdir "$home/node_modules.new"
needed_packages | tar -C "$ROOT/node_modules" -cf - -T - | tar -C "$home/node_modules.new" -xf -
[ -n "$(ls -A "$home/node_modules.new")" ] || fail "npm ls names nothing below $ROOT/node_modules"
put_directory dist
put_directory node_modules
install -m 0644 "$ROOT/package.json" "$home/package.json"
install -m 0644 "$ROOT/docs/deploy.md" "$ROOT/docs/settings.md" "$home/docs/"
put_program node <"$ROOT/node_modules/.bin/node"
put_program millibox <<'SH'
#!/bin/sh
exec /opt/millibox/bin/node /opt/millibox/dist/src/cli/main.js "$@"
SH
if wants agent; then put_program boxinit <"$(boxinit_dir)/boxinit"; fi

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
