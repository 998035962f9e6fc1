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

install_deps() {
  cd "$ROOT"
  if deps_fresh; then return 0; fi
  step 'npm dependencies'
  have npm || fail 'npm is missing; install Node.js 20 or newer with npm'
  npm ci --include=dev --no-audit --no-fund --loglevel=error </dev/null >&2 ||
    npm ci --include=dev --no-audit --no-fund --loglevel=error </dev/null >&2 ||
    fail 'npm ci failed; see the lines above'
  deps_fresh || fail 'npm ci ended well, but node_modules does not hold what package-lock.json asks for'
}
