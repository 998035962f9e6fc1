# Programs that are Go modules, built once through the module proxy. Sourced.

GO_TOOLS=$MILLIBOX_HOME/go-tools

# A Go that is new enough for what is built here.
go_program() {
  local each
  for each in go /usr/local/go/bin/go /usr/lib/go/bin/go; do
    if have "$each" && "$each" version 2>/dev/null | grep -qE 'go1\.(2[4-9]|[3-9][0-9])'; then
      command -v "$each"
      return 0
    fi
  done
  return 1
}

# go_fresh NAME MODULE@VERSION: whether it is there in this version.
go_fresh() { [ -x "$GO_TOOLS/bin/$1" ] && [ "$(cat "$GO_TOOLS/$1.version" 2>/dev/null)" = "$2" ]; }

# go_install NAME MODULE@VERSION: makes $GO_TOOLS/bin/NAME. Exit 1 where it cannot be had.
go_install() {
  local name=$1 module=$2 go
  if go_fresh "$name" "$module"; then return 0; fi
  go=$(go_program) || return 1
  say "go install $module (once; a minute or two)"
  mkdir -p "$GO_TOOLS/bin"
  # Without debug information it links in half the time.
  GOBIN=$GO_TOOLS/bin CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local \
    patiently "$MILLIBOX_HOME/log/go.log" timeout 900 "$go" install -trimpath -ldflags='-s -w' "$module" || return 1
  echo "$module" >"$GO_TOOLS/$name.version"
}
