#!/usr/bin/env bash
# Makes a release, the same bytes for the same commit: static binaries, a wheel, the command line as a container image, the functions as
# Lambda zips with a packaged template, SBOMs and checksums.
#
#   infra/release/release.sh [FOLDER]          into FOLDER (target/release-artifacts)
#   infra/release/release.sh test [FOLDER]     looks at what is there: checksums, the wheel in a fresh environment, the image as a runtime
#                                              takes it, the template
#   infra/release/release.sh compare           makes it twice from clean folders and compares
#   infra/release/release.sh repository        says where the project is published
#
# A release has to know where the project is published: `repository` in Cargo.toml, or REPOSITORY_URL=https://HOST/OWNER/ecr-steward, which
# is written there.
#
# Needs Rust with rustup, Python 3.11 and git, and for the test openssl. Installs the rest into target/release-tools: maturin, zig,
# cargo-zigbuild, cargo-lambda and Mozilla's certificate authorities from PyPI, cargo-cyclonedx from crates.io. Takes about half an hour on
# two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly BINARY_TARGETS=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
readonly WHEEL_TARGETS=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
readonly TOOLS=(maturin==1.16.0 ziglang==0.15.2 cargo-zigbuild==0.24.1 cargo-lambda==1.9.2 certifi==2026.10.19.post1)
readonly CYCLONEDX=0.5.9

root=$PWD
tools=$root/target/release-tools
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)

step() { printf '\n== %s\n' "$*"; }

fail() {
  printf 'release.sh: %s\n' "$*" >&2
  exit 1
}

# Where the project is published. `cargo binstall` and the links of pages go by what is in Cargo.toml, so that one of another address
# would send people elsewhere.
repository() {
  local known wanted
  known=$(sed -n 's/^repository = "\(.*\)"$/\1/p' Cargo.toml | head -1)
  wanted=${REPOSITORY_URL:-$known}
  wanted=${wanted%/}
  [ -n "$wanted" ] ||
    fail 'where the project is published is not known: set REPOSITORY_URL=https://HOST/OWNER/ecr-steward, or repository in Cargo.toml'
  [[ $wanted =~ ^https://[A-Za-z0-9.-]+(/[A-Za-z0-9._~-]+)+$ ]] ||
    fail "$wanted is not the address of a repository; write https://HOST/OWNER/ecr-steward"
  [ -z "$known" ] || [ "$known" = "$wanted" ] ||
    fail "REPOSITORY_URL is $wanted, and repository in Cargo.toml is $known; correct the one or the other"
  [ -n "$known" ] || sed -i "s|^repository = \"\"\$|repository = \"$wanted\"|" Cargo.toml
  printf '%s\n' "$wanted"
}

# What two builds of one commit must not differ by: where they were made, and when.
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export RUSTFLAGS="--remap-path-prefix=$root=/ecr-steward --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
export LC_ALL=C TZ=UTC
umask 022

install_tools() {
  step 'tools'
  if [ "$(cat "$tools/installed" 2>/dev/null)" != "${TOOLS[*]} $CYCLONEDX" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "${TOOLS[@]}"
    RUSTFLAGS='' cargo install --quiet --locked --root "$tools" --version "$CYCLONEDX" cargo-cyclonedx
    printf '%s' "${TOOLS[*]} $CYCLONEDX" >"$tools/installed"
  fi
  export PATH=$tools/bin:$PATH
  rustup target add "${BINARY_TARGETS[@]}"
}

# An archive without owners, times and an order of its own.
archive() {
  local folder=$1 target=$2
  tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar \
    -C "$(dirname "$folder")" -cf - "$(basename "$folder")" | gzip --no-name -9 >"$target"
}

binaries() {
  local out=$1 target folder
  for target in "${BINARY_TARGETS[@]}"; do
    step "ecr-steward for $target"
    cargo zigbuild --release --locked --package cli --features kubernetes --target "$target"
    folder=$root/target/release-folders/ecr-steward-$target
    rm -rf "$folder"
    mkdir -p "$folder"
    install -m 755 "target/$target/release/ecr-steward" "$folder/ecr-steward"
    install -m 644 LICENSE CHANGELOG.md "$folder/"
    archive "$folder" "$out/ecr-steward-$target.tar.gz"
  done
}

# What infra/usage-reporter/kubernetes/Dockerfile makes, without Docker:
#   skopeo copy --all oci-archive:ecr-steward-image.tar docker://ACCOUNT.dkr.ecr.REGION.amazonaws.com/ecr-steward:VERSION
image() {
  step 'the container image'
  python3 infra/release/package.py image "$version" \
    target/{x86_64,aarch64}-unknown-linux-musl/release/ecr-steward "$("$tools/bin/python3" -m certifi)" "$1/ecr-steward-image.tar"
}

wheels() {
  local out=$1 target
  for target in "${WHEEL_TARGETS[@]}"; do
    step "the wheel for $target"
    # The program is static: it needs no C library, neither glibc nor musl.
    maturin build --release --locked --zig --manifest-path cli/Cargo.toml --features kubernetes --target "$target" \
      --compatibility manylinux2014 musllinux_1_1 --out "$out"
  done
}

functions() {
  local out=$1 architecture flag name
  local names=()
  for name in functions/*/; do names+=("$(basename "$name")"); done
  for architecture in arm64 x86_64; do
    step "the functions for $architecture"
    flag=--arm64
    [ "$architecture" = arm64 ] || flag=--x86-64
    local bins=()
    for name in "${names[@]}"; do bins+=(--bin "$name"); done
    # RUSTFLAGS would replace the flags of `cargo lambda` and of the workspace's metadata; these are added to them.
    env -u RUSTFLAGS CARGO_BUILD_RUSTFLAGS="$RUSTFLAGS" cargo lambda build --release --locked "$flag" "${bins[@]}"
    for name in "${names[@]}"; do
      python3 infra/release/package.py zip "target/lambda/$name/bootstrap" "$out/$name-$architecture.zip"
    done
  done
  python3 infra/release/package.py template template.yaml "$out/deploy.yaml"
  cp infra/usage-reporter.yaml "$out/usage-reporter.yaml"
  python3 infra/release/package.py check "$out"
}

sboms() {
  local out=$1 name
  step 'SBOMs'
  # Without a serial number and a time, which would differ each time.
  cargo cyclonedx --features cli/kubernetes --format json --spec-version 1.5 --override-filename sbom --quiet
  for name in cli functions/*; do
    python3 - "$name/sbom.json" "$out/$(basename "$name").cdx.json" <<'PYTHON'
import json, os, sys
sbom = json.load(open(sys.argv[1]))
sbom.pop("serialNumber", None)
sbom.get("metadata", {}).pop("timestamp", None)
text = json.dumps(sbom, indent=2, sort_keys=True).replace(os.getcwd(), "/ecr-steward")
open(sys.argv[2], "w").write(text + "\n")
PYTHON
  done
  find . -name sbom.json -not -path './target/*' -delete
}

checksums() (
  cd "$1"
  rm -f SHA256SUMS
  # shellcheck disable=SC2035  # No name begins with a dash.
  sha256sum * >"$1.sums"
  mv "$1.sums" SHA256SUMS
)

make() {
  local out=$1 published
  published=$(repository)
  step "a release of $published"
  rm -rf "$out"
  mkdir -p "$out"
  out=$(realpath "$out")
  install_tools
  binaries "$out"
  image "$out"
  wheels "$out"
  functions "$out"
  sboms "$out"
  checksums "$out"
  step "version $version is in $out"
  ls -l "$out"
}

# Looks at a release as somebody does who has no compiler.
try() {
  local out environment started
  out=$(realpath "$1")
  step 'checksums'
  (cd "$out" && sha256sum --check --quiet SHA256SUMS)
  step 'the packaged template and its zips'
  python3 infra/release/package.py test
  python3 infra/release/package.py check "$out"
  step 'the wheel in a fresh environment'
  environment=$(mktemp -d)
  python3 -m venv "$environment"
  started=$SECONDS
  "$environment/bin/pip" install --quiet --disable-pip-version-check --no-index --find-links "$out" ecr-steward
  (
    cd tests/fixtures/storefront
    "$environment/bin/ecr-steward" preview --now 2026-11-23 --policy policy.yaml --images images.json --in-use in-use.json |
      tail -15
  )
  "$environment/bin/ecr-steward" --version | grep --fixed-strings --quiet "$version"
  echo "installed and previewed in $((SECONDS - started)) s"
  [ $((SECONDS - started)) -lt 10 ]
  rm -rf "$environment"
  step 'the static binary of this machine'
  environment=$(mktemp -d)
  tar -xzf "$out/ecr-steward-$(uname -m)-unknown-linux-musl.tar.gz" -C "$environment" --strip-components=1
  "$environment/ecr-steward" check infra/examples/policies/*.yaml
  "$environment/ecr-steward" in-use --help | grep --fixed-strings --quiet -- --kubernetes
  ! ldd "$environment/ecr-steward" 2>/dev/null | grep --quiet '=>'
  rm -rf "$environment"
  step 'the container image, as a pod of a cluster'
  python3 infra/release/try_image.py "$out/ecr-steward-image.tar" "$version"
  step 'the packaged template on the local AWS'
  cargo build --quiet --package local
  trap 'target/debug/local down >/dev/null 2>&1 || true' EXIT
  eval "$(target/debug/local up)"
  local aws=target/local/tools/aws/bin/aws
  "$aws" s3 mb s3://packaged
  "$aws" s3 cp --quiet --recursive --exclude '*' --include "*-$(uname -m).zip" "$out" s3://packaged/release/
  # CloudFormation takes a template of more than 51,200 bytes from a bucket only.
  "$aws" cloudformation deploy --template-file "$out/deploy.yaml" --s3-bucket packaged --stack-name packaged \
    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
    --parameter-overrides CodeBucket=packaged CodePrefix=release/ "Architecture=$(uname -m)" AllowLoopbackResponseUrl=true
  target/debug/local down
  step 'all is as it should be'
}

# Makes a release twice, from nothing each time, and compares.
compare() {
  local first second
  first=$(mktemp -d) second=$(mktemp -d)
  make "$first"
  rm -rf target/{x86_64,aarch64}-unknown-linux-{musl,gnu} target/lambda target/release-folders
  make "$second"
  diff --recursive "$first" "$second"
  step 'two builds of one commit are the same'
}

case ${1:-} in
  test) try "${2:-target/release-artifacts}" ;;
  compare) compare ;;
  repository) repository ;;
  *) make "${1:-target/release-artifacts}" ;;
esac
