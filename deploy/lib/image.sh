# The base image. Sourced. Its name and archive end up in $MILLIBOX_HOME/base/default-image: two lines, the reference
# and the path of a tar that the oci runtime imports (a `docker save` archive, or a root file system).

image_in_engine() { engine_answers && docker image inspect "$1" >/dev/null 2>&1; }

record_image() { # REF TAR
  printf '%s\n%s\n' "$1" "$2" >"$MILLIBOX_HOME/base/default-image.new"
  mv "$MILLIBOX_HOME/base/default-image.new" "$MILLIBOX_HOME/base/default-image"
}

DEBIAN_MIRROR=http://deb.debian.org/debian

# Asks once, briefly. MILLIBOX_REGISTRY=off (and CI) means: never ask.
registry_reachable() {
  [ "${MILLIBOX_REGISTRY:-}" != off ] && [ -z "${CI:-}" ] &&
    timeout 6 node -e '
      fetch("https://registry-1.docker.io/v2/", { signal: AbortSignal.timeout(4000) })
        .then((r) => process.exit(r.status < 500 ? 0 : 1), () => process.exit(1))' >/dev/null 2>&1
}

image_from_registry() {
  local tar=$MILLIBOX_HOME/base/python-3.12-slim.tar
  engine_answers || return 1
  if ! image_in_engine "$BASE_IMAGE_REGISTRY"; then
    registry_reachable || return 1
    say "pulling $BASE_IMAGE_REGISTRY"
    timeout 300 docker pull "$BASE_IMAGE_REGISTRY" </dev/null >&2 || return 1
  fi
  docker save "$BASE_IMAGE_REGISTRY" -o "$tar.partial" && mv "$tar.partial" "$tar" || return 1
  record_image "$BASE_IMAGE_REGISTRY" "$tar"
}

# The mirror that this machine's apt uses, if it looks like one of Debian's.
debian_mirror() {
  local uri
  uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -n -E 's/^(URIs:|deb( \[[^]]*\])?) *(https?:[^ ]*\/debian)\/?( .*)?$/\3/p' | head -n 1)
  echo "${uri:-$DEBIAN_MIRROR}"
}

# The proxy that apt is told to use; debootstrap fetches by wget, which reads only the environment.
apt_proxy() {
  local proxy=
  eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null || true)"
  case $proxy in http*) echo "$proxy" ;; esac
}

debootstrap_tar() { # TAR
  local tar=$1 work=$MILLIBOX_HOME/base/bootstrap log=$MILLIBOX_HOME/log/debootstrap.log
  if ! have debootstrap; then
    can_apt || return 1
    apt_install debootstrap || fail "no base image: apt-get could not install debootstrap: $(reason "$APT_LOG")"
  fi
  # On Ubuntu the keys of Debian's archive are a package of their own.
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || { can_apt && apt_install debian-archive-keyring; } || return 1
  local mirror try
  if [ -z "${http_proxy:-}" ] && [ -n "$(apt_proxy)" ]; then export http_proxy=$(apt_proxy); fi
  mirror=$(debian_mirror)
  : >"$log"
  for try in 1 2 3; do
    # A source of apt that is called debian may be somebody's own packages.
    if [ "$try" = 3 ]; then mirror=$DEBIAN_MIRROR; fi
    say "debootstrap bookworm from $mirror (once; two or three minutes)"
    umount "$work/proc" "$work/sys" 2>/dev/null || true
    rm -rf --one-file-system "$work"
    mkdir -p "$work"
    if patiently "$log" debootstrap --variant=minbase --include=python3,bash,procps,ca-certificates \
      bookworm "$work" "$mirror"; then
      rm -rf "$work"/var/cache/apt/* "$work"/var/lib/apt/lists/* "$work"/usr/share/{doc,man,locale,info}/* \
        "$work"/var/log/*.log "$work"/var/log/apt/*
      # Device files are the runtime's to make, and an unprivileged import could not.
      if tar --numeric-owner --one-file-system -C "$work" --exclude='./dev/*' -cf "$tar.partial" . 2>>"$log"; then
        mv "$tar.partial" "$tar"
        rm -rf --one-file-system "$work"
        return 0
      fi
    fi
    say "debootstrap failed (try $try of 3)"
    # It keeps what its programs say in the root that it makes.
    tail -n 20 "$work/debootstrap/debootstrap.log" >>"$log" 2>/dev/null || true
    if disk_was_full "$log"; then break; fi
  done
  rm -rf --one-file-system "$work" "$tar.partial"
  fail "no base image: debootstrap failed, $(reason "$log")"
}

image_from_debootstrap() {
  local tar=$MILLIBOX_HOME/base/debian-bookworm.tar
  if ! [ -s "$tar" ]; then
    is_root || return 1
    debootstrap_tar "$tar" || return 1
  fi
  if engine_answers && ! image_in_engine "$BASE_IMAGE_DEBIAN"; then
    say "importing $BASE_IMAGE_DEBIAN"
    docker import -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'CMD ["/bin/bash"]' \
      "$tar" "$BASE_IMAGE_DEBIAN" </dev/null >/dev/null || return 1
  fi
  record_image "$BASE_IMAGE_DEBIAN" "$tar"
}

image_ready() {
  local ref tar
  [ -f "$MILLIBOX_HOME/base/default-image" ] || return 1
  { read -r ref && read -r tar; } <"$MILLIBOX_HOME/base/default-image" || return 1
  [ -s "$tar" ] && { ! engine_answers || image_in_engine "$ref"; }
}

make_image() {
  if image_ready; then return 0; fi
  step 'Base image'
  # What was made once is used again, whatever can be reached today.
  if ! [ -s "$MILLIBOX_HOME/base/debian-bookworm.tar" ] && image_from_registry; then return 0; fi
  image_from_debootstrap ||
    fail "no base image: no image registry can be reached, and building one needs root on Debian or Ubuntu; on another system, 'docker load' or 'docker pull' $BASE_IMAGE_REGISTRY and start again"
}

# The image that sandboxes get unless they ask for another.
default_image() { head -n 1 "$MILLIBOX_HOME/base/default-image"; }
