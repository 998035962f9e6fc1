# A real API server of Kubernetes and the etcd below it, for the tests of discovery. Sourced.
#
# Neither is a package of the distribution in a version that fits, and `go install` refuses the API server, whose module
# replaces others by directories of its repository. So both are built from their released modules, by a module of ours
# that holds their versions and checksums (control-plane/). On two cores this takes ten minutes, and 3 GB of Go's caches:
# it is done only when asked for, by MILLIBOX_TEST_KUBERNETES=1 or by the step's name. What was built once is used.

CONTROL_PLANE=$ROOT/deploy/lib/control-plane
CONTROL_PLANE_PROGRAMS=(kube-apiserver etcd)

control_plane_version() { sed -n 's/^require k8s.io\/kubernetes //p;s/^\tk8s.io\/kubernetes //p' "$CONTROL_PLANE/go.mod"; }

# What is built: another module, another build.
control_plane_sum() { (cd "$CONTROL_PLANE" && cat go.mod go.sum */main.go | sha256sum | cut -d' ' -f1); }

build_kube_apiserver() {
  local sum go program work status=0
  sum=$(control_plane_sum)
  for program in "${CONTROL_PLANE_PROGRAMS[@]}"; do go_fresh "$program" "$sum" || status=1; done
  if [ "$status" = 0 ]; then return 0; fi
  step 'A Kubernetes API server and etcd'
  go=$(go_program) || { say 'no Go here: tests against a real API server are skipped, by name'; return 0; }
  say "go build kube-apiserver $(control_plane_version) and its etcd (once; ten minutes)"
  mkdir -p "$GO_TOOLS/bin"
  work=$(mktemp -d "$MILLIBOX_HOME/run/control-plane.XXXXXX")
  # It reports the version that it was linked with, and refuses to start without one.
  (
    cd "$CONTROL_PLANE"
    CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false' GOTOOLCHAIN=local GOWORK=off \
      patiently "$MILLIBOX_HOME/log/go.log" timeout 7200 nice -n 10 "$go" build -trimpath -o "$work/" \
      -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$(control_plane_version)" \
      "${CONTROL_PLANE_PROGRAMS[@]/#/./}"
  ) || true
  for program in "${CONTROL_PLANE_PROGRAMS[@]}"; do
    if [ -x "$work/$program" ]; then
      mv "$work/$program" "$GO_TOOLS/bin/$program"
      echo "$sum" >"$GO_TOOLS/$program.version"
    else
      # Go keeps what it has compiled, so the next try is shorter.
      say "$program is not built (see $MILLIBOX_HOME/log/go.log); its tests are skipped, by name"
    fi
  done
  rm -rf "$work"
}
