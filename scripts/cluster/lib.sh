# What the scripts of this folder share: variables with their defaults, and small helpers. README.md lists the variables.
# shellcheck shell=bash
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")

namespace=${DETEKTOR_NAMESPACE:-detektor}
release=${DETEKTOR_RELEASE:-detektor}
image=${DETEKTOR_IMAGE:-detektor:$version}
cameras_image=${DETEKTOR_CAMERAS_IMAGE:-detektor-cameras:$version}
image_build=${DETEKTOR_IMAGE_BUILD:-docker build -t}
image_load=${DETEKTOR_IMAGE_LOAD:-kind load docker-image}
node_ctl=${DETEKTOR_NODE_CTL:-$here/kind-node}

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

need() { # PROGRAM...
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    case $program in
      kubectl) die "kubectl is missing. Install it: https://kubernetes.io/docs/tasks/tools" ;;
      helm) die "helm is missing. Install it (https://helm.sh/docs/intro/install), or let 'scripts/setup/go-program helm' build it and put it into PATH" ;;
      *) die "$program is missing" ;;
    esac
  done
}

need_cluster() {
  need kubectl
  kubectl version --request-timeout=10s >/dev/null 2>&1 || die "no cluster answers: set KUBECONFIG, or make one: kind create cluster --config configs/k8s/kind.yaml"
}

make_namespace() {
  kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl label namespace "$namespace" --overwrite pod-security.kubernetes.io/{enforce,warn}=restricted >/dev/null
}

k() { kubectl -n "$namespace" "$@"; }

# The image without its tag or digest, and what comes after: a port before a slash is none of them.
image_name() { case ${1##*/} in *@*) echo "${1%@*}" ;; *:*) echo "${1%:*}" ;; *) echo "$1" ;; esac; }
image_tag() { case ${1##*/} in *@*) die "$1: name it by a tag, not by its digest" ;; *:*) echo "${1##*:}" ;; *) echo latest ;; esac; }
