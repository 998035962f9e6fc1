#!/usr/bin/env bash
# Everything that millibox needs on this machine. Each step looks first, does only what is missing, and may be repeated.
#
#   bash deploy/setup.sh [STEP...]      deps rust boxinit engine image oci tools build all
#
#   deps     npm dependencies                    image    the base image, in the engine and as a tar
#   rust     a Rust toolchain                    oci      runc, skopeo, umoci, bubblewrap, nftables, ...
#   boxinit  the supervisor of each sandbox      tools    programs that only the tests use
#   engine   a Docker engine that answers        build    TypeScript to dist/
#   prime    the official Prime clients, which only tests and bench use; part of tools
#   helm     Helm, kubeconform and schemas of Kubernetes, for the tests of the chart; part of tools
#   compose  Docker Compose (minutes); part of tools with MILLIBOX_TEST_DOCKERFILES=1
#   kube-apiserver  a Kubernetes API server and etcd (ten minutes); part of tools with MILLIBOX_TEST_KUBERNETES=1
#   vm       a virtual machine with control groups of version 2; part of tools with MILLIBOX_TEST_VM=1
#
# `all` is everything but `tools`. MILLIBOX_HOME: where state is kept. MILLIBOX_REGISTRY=off: ask no image registry.
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for part in apt deps rust engine image machine packages prime go helm compose kube-apiserver vm build; do source "$ROOT/deploy/lib/$part.sh"; done

run_step() {
  case $1 in
  deps) with_lock deps install_deps ;;
  rust) with_lock packages install_rust ;;
  boxinit) with_lock boxinit build_boxinit ;;
  engine) with_lock engine install_engine ;;
  image) with_lock image make_image ;;
  oci) with_lock packages install_oci ;;
  prime) with_lock prime install_prime ;;
  helm) with_lock helm install_helm ;;
  compose) with_lock compose build_compose ;;
  kube-apiserver) with_lock kube-apiserver build_kube_apiserver ;;
  vm) with_lock vm build_vm ;;
  tools)
    # Beside the others: it is compiled here while they come over the network.
    with_lock helm install_helm &
    helm=$!
    with_lock packages install_test_tools
    with_lock prime install_prime
    wait "$helm"
    if [ "${MILLIBOX_TEST_DOCKERFILES:-}" = 1 ]; then with_lock compose build_compose; fi
    if [ "${MILLIBOX_TEST_KUBERNETES:-}" = 1 ]; then with_lock kube-apiserver build_kube_apiserver; fi
    if [ "${MILLIBOX_TEST_VM:-}" = 1 ]; then with_lock vm build_vm; fi
    ;;
  build) with_lock build build_typescript ;;
  all)
    check_machine
    for each in deps rust boxinit engine image oci build; do run_step "$each"; done
    ;;
  -h | --help) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
  *) fail "no step '$1'; there are: deps rust boxinit engine image oci tools prime helm compose kube-apiserver vm build all" ;;
  esac
}

prepare_home
for each in "${@:-all}"; do run_step "$each"; done
