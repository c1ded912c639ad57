#!/usr/bin/env bash
# The docker commands of the buildspec by buildah, which needs no daemon. It knows those options and no others, so that
# a new one does not pass unnoticed. It neither caches nor attests: buildah 1.28 cannot.
set -euo pipefail

unsupported() {
  echo "docker: '$1' is not known here" >&2
  exit 125
}

# The folder of the build that this program was laid into; docker has no variable of the tests'.
LOCAL_BUILDAH=$(dirname -- "$(dirname -- "$(realpath -- "$0")")")/buildah
buildah=(buildah --root "$LOCAL_BUILDAH/storage" --runroot "$LOCAL_BUILDAH/run" --storage-driver vfs)
policy=$LOCAL_BUILDAH/policy.json
mkdir -p "$LOCAL_BUILDAH"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$policy"
# Who has no configuration of docker's is not logged in.
export REGISTRY_AUTH_FILE=${DOCKER_CONFIG:?}/auth.json

case "$1 ${2:-}" in
  'login '*)
    shift
    exec "${buildah[@]}" login --tls-verify=false "$@"
    ;;
  'buildx create') exit 0 ;;
  'buildx build') shift 2 ;;
  *) unsupported "$*" ;;
esac

build=() push= tag= metadata= context=
for argument in "$@"; do
  value=${argument#*=}
  case $argument in
    --platform=* | --file=* | --label=* | --target=* | --build-arg=*) build+=("$argument") ;;
    --secret=*)
      # id=ID,env=VARIABLE: buildah 1.28 reads files.
      [[ $value =~ ^id=([A-Za-z0-9_.-]+),env=([A-Z0-9_]+)$ ]] || unsupported "$argument"
      file=$(mktemp "$LOCAL_BUILDAH/secret.XXXXXX")
      printf %s "${!BASH_REMATCH[2]}" >"$file"
      build+=("--secret=id=${BASH_REMATCH[1]},src=$file")
      ;;
    --tag=*) tag=$value ;;
    --metadata-file=*) metadata=$value ;;
    --push) push=yes ;;
    --progress=plain | --provenance=* | --sbom=* | --cache-from=type=registry,* | --cache-to=type=registry,*) ;;
    -*) unsupported "$argument" ;;
    *) context=$argument ;;
  esac
done

image=$(mktemp -u localhost/build-XXXXXXXX | tr '[:upper:]' '[:lower:]')
"${buildah[@]}" bud --isolation chroot --format oci --signature-policy "$policy" --http-proxy=false --pull-never \
  --layers=false --tag "$image" "${build[@]}" -- "$context" 2>&1
if [ -n "$push" ]; then
  digest=$(mktemp)
  "${buildah[@]}" push --signature-policy "$policy" --tls-verify=false --digestfile "$digest" "$image" "docker://$tag" 2>&1
  printf '{\n  "containerimage.digest": "%s",\n  "image.name": "%s"\n}\n' "$(cat "$digest")" "$tag" >"$metadata"
fi
"${buildah[@]}" rmi "$image" >/dev/null
rm -f "$LOCAL_BUILDAH"/secret.*
