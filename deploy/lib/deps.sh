# npm dependencies. Sourced.

# Exit 0 when node_modules holds exactly what package-lock.json asks for (npm keeps its own copy of the lock there).
deps_fresh() {
  [ -f "$ROOT/node_modules/.package-lock.json" ] && [ -x "$ROOT/node_modules/.bin/node" ] &&
    "$ROOT/node_modules/.bin/node" -e '
      const { readFileSync } = require("node:fs");
      const read = (path) => JSON.parse(readFileSync(path, "utf8")).packages;
      const wanted = read("package-lock.json");
      const there = read("node_modules/.package-lock.json");
      const stale = Object.entries(wanted).some(([path, { version, optional, link }]) =>
        path !== "" && !link && (there[path] ? there[path].version !== version : !optional));
      process.exit(stale ? 1 : 0);' >/dev/null 2>&1
}

# Older ones do not read this lock file, or cannot run what installs the Node.js that everything here runs on.
OLDEST_NODE=18

check_node() {
  local version
  version=$(node -p process.versions.node 2>/dev/null) || version=
  [ -n "$version" ] || fail "Node.js is missing; install Node.js $OLDEST_NODE or newer with npm"
  [ "${version%%.*}" -ge "$OLDEST_NODE" ] ||
    fail "Node.js $version is too old to set this up; install Node.js $OLDEST_NODE or newer with npm"
  have npm || fail "npm is missing; install it (Debian and Ubuntu: apt-get install npm)"
}

# npm fails where it cannot keep its cache, and that is in the user's home: one that is not there, or read-only.
lend_npm_a_cache() {
  if [ -z "${npm_config_cache:-}${NPM_CONFIG_CACHE:-}" ] && ! [ -w "$HOME" ]; then export npm_config_cache=$MILLIBOX_HOME/npm-cache; fi
}

npm_ci() {
  # A terminal sees npm's own progress.
  local quietly=(patiently '')
  if [ -t 2 ]; then quietly=(); fi
  "${quietly[@]}" npm ci --include=dev --no-audit --no-fund --loglevel=error --fetch-timeout=60000 \
    --fetch-retry-mintimeout=2000 --fetch-retry-maxtimeout=20000 </dev/null >&2
}

registry_answers() { npm view node version --fetch-retries=0 --fetch-timeout=15000 </dev/null >/dev/null 2>&1; }

install_deps() {
  cd "$ROOT"
  if deps_fresh; then return 0; fi
  step 'npm dependencies'
  # What an interrupted install left there may not run, and it is first on the PATH.
  rm -f node_modules/.bin/node
  check_node
  lend_npm_a_cache
  say 'npm ci (a minute or two)'
  if ! npm_ci; then
    registry_answers ||
      fail "npm's registry, $(npm config get registry), cannot be reached; check this machine's network (and its proxy, if it has one) and start again"
    npm_ci || fail 'npm ci failed; see the lines above (it needs 400 MB of disk)'
  fi
  deps_fresh || fail 'npm ci ended well, but node_modules does not hold what package-lock.json asks for'
}
