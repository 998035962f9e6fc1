# Helm, kubeconform, and the JSON schemas of Kubernetes that it checks against: what the tests of the chart need. Sourced.
#
# kubeconform would fetch schemas from a web host. They come in a package of the Python index too, for every version of
# Kubernetes, and nothing of that package is run.

HELM_MODULE=helm.sh/helm/v3/cmd/helm@v3.19.5
KUBECONFORM_MODULE=github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0
SCHEMAS_PACKAGE=kubernetes-validate==1.37.0
SCHEMAS=$MILLIBOX_HOME/kubernetes-schemas

# $SCHEMAS/vX.Y.0-local-strict/KIND-GROUP-VERSION.json
fetch_schemas() {
  if [ "$(cat "$SCHEMAS/.package" 2>/dev/null)" = "$SCHEMAS_PACKAGE" ]; then return 0; fi
  have python3 || return 1
  say "pip download $SCHEMAS_PACKAGE (once)"
  local work status=0
  work=$(mktemp -d "$MILLIBOX_HOME/run/schemas.XXXXXX")
  python3 -m pip download --quiet --no-deps --only-binary :all: --disable-pip-version-check --retries 2 --timeout 15 \
    --dest "$work" "$SCHEMAS_PACKAGE" </dev/null >>"$MILLIBOX_HOME/log/pip.log" 2>&1 &&
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
  if go_fresh helm "$HELM_MODULE" && go_fresh kubeconform "$KUBECONFORM_MODULE" && fetch_schemas; then return 0; fi
  step 'Helm and kubeconform'
  go_install helm "$HELM_MODULE" && go_install kubeconform "$KUBECONFORM_MODULE" && fetch_schemas ||
    say "these cannot be had here (see go.log and pip.log in $MILLIBOX_HOME/log); tests of the chart are skipped, by name"
}
