# Docker Compose, for the tests of the compose file. Sourced.
#
# The distribution's is of version 1, and `go install` refuses this module, whose go.mod excludes versions of others. So
# it is built in a copy of the released module: only when the images are tested (MILLIBOX_TEST_DOCKERFILES=1) or by the
# step's name, for it takes minutes.

COMPOSE_MODULE=github.com/docker/compose/v2@v2.40.3
# Of the module's files, among which are the checksums of all that it is built from.
COMPOSE_SUM=h1:XeYkQu1svDtyfZPv5nTwFryQ25ZJMkIlc4pz9HalMPI=

# The engine's plugin, in a version that knows the file's format.
have_compose_plugin() { [[ "$(docker compose version --short 2>/dev/null)" =~ ^v?([2-9]|[1-9][0-9])\. ]]; }

# fetch_compose GO DIRECTORY: the released module's files, which Go keeps read-only.
fetch_compose() {
  local module
  patiently "$MILLIBOX_HOME/log/go.log" timeout 300 "$1" mod download "$COMPOSE_MODULE" &&
    module=$("$1" mod download -json "$COMPOSE_MODULE") && grep -qF "\"Sum\": \"$COMPOSE_SUM\"" <<<"$module" &&
    cp -r "$(sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p' <<<"$module")" "$2" && chmod -R u+w "$2"
}

build_compose() {
  local work go
  if have_compose_plugin || go_fresh docker-compose "$COMPOSE_MODULE"; then return 0; fi
  step 'Docker Compose'
  go=$(go_program) || { say 'no Go here: tests of the compose file are skipped, by name'; return 0; }
  say "go build $COMPOSE_MODULE (once; a few minutes)"
  mkdir -p "$GO_TOOLS/bin"
  work=$(mktemp -d "$MILLIBOX_HOME/run/compose.XXXXXX")
  (
    export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false' GOTOOLCHAIN=local GOWORK=off
    cd "$work" && fetch_compose "$go" "$work/module" && cd module &&
      patiently "$MILLIBOX_HOME/log/go.log" timeout 1800 "$go" build -trimpath -o "$work/program" \
        -ldflags="-s -w -X ${COMPOSE_MODULE%@*}/internal.Version=${COMPOSE_MODULE#*@}" ./cmd
  ) && mv "$work/program" "$GO_TOOLS/bin/docker-compose" && echo "$COMPOSE_MODULE" >"$GO_TOOLS/docker-compose.version" ||
    say "it cannot be built here (see $MILLIBOX_HOME/log/go.log); tests of the compose file are skipped, by name"
  rm -rf "$work"
}
