# TypeScript to dist/. Sourced.

build_fresh() {
  [ -f "$ROOT/dist/.built" ] && [ -f "$ROOT/dist/src/cli/main.js" ] &&
    [ -z "$(find "$ROOT/src" "$ROOT/agent" "$ROOT/tsconfig.json" "$ROOT/tsconfig.build.json" "$ROOT/package.json" "$ROOT/deploy/lib/bundle.config.js" \
      -name target -prune -o \( -name '*.ts' -o -name '*.json' -o -name '*.config.js' \) ! -name '*.test.ts' -newer "$ROOT/dist/.built" -print -quit)" ]
}

build_typescript() {
  cd "$ROOT"
  if build_fresh; then return 0; fi
  step 'Building'
  mkdir -p dist
  # Marked with the time before the build: what is saved while it runs counts as newer.
  touch dist/.building
  say 'tsc (a few seconds)'
  # Types are checked where code is changed, by `npm run build` and .ci/run: here that would more than double the wait.
  patiently '' tsc -p tsconfig.build.json --noCheck || fail 'the TypeScript does not compile; see the lines above'
  patiently '' npm run -s bundle || fail 'the CLI could not be put together; see the lines above'
  chmod +x dist/src/cli/main.js
  mv dist/.building dist/.built
}
