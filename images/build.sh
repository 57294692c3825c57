#!/usr/bin/env bash
# Builds the images with docker, podman or buildah, whichever is there: images/build.sh [operator] [trainer]
#   BUILDER      one of the three, if several are there
#   BASE         base image with Python 3.11 (default: docker.io/library/python:3.11-slim-bookworm;
#                images/debian-base.sh makes one without a registry)
#   REGISTRY     prefix of the names, such as registry.example.com/ml
#   IMAGE_FLAGS  further flags for the build, such as "--volume /etc/ssl/certs:/etc/ssl/certs:ro" (buildah, podman)
set -euo pipefail
cd "$(dirname "$0")/.."

works() {
  case $1 in
    docker) docker info > /dev/null 2>&1 ;;
    *) command -v "$1" > /dev/null ;;
  esac
}
if [ -z "${BUILDER:-}" ]; then
  for candidate in docker podman buildah; do
    if works "$candidate"; then BUILDER=$candidate; break; fi
  done
fi
[ -n "${BUILDER:-}" ] || { echo "found no docker that answers, no podman and no buildah: install one of them" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)
arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
for name in BASE PIP_INDEX_URL PIP_CERT; do
  if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name=${!name}"); fi
done
read -r -a flags <<< "${IMAGE_FLAGS:-}"
[ "$BUILDER" = docker ] || arguments+=(--format docker --layers)

for image in "${@:-operator}"; do
  case $image in
    operator) file=operator/Dockerfile ;;
    trainer) file=trainer_image/Dockerfile ;;
    *) echo "$image: expected operator or trainer" >&2; exit 64 ;;
  esac
  tag="${REGISTRY:+$REGISTRY/}boresight-$image:$version"
  "$BUILDER" build "${arguments[@]}" ${flags[@]+"${flags[@]}"} --file "$file" --tag "$tag" .
  case $BUILDER in
    buildah) size=$(buildah images --format '{{.Size}}' "$tag") ;;
    *) size=$("$BUILDER" image inspect --format '{{.Size}}' "$tag" | awk '{printf "%.0f MB", $1 / 1e6}') ;;
  esac
  echo "$tag: $size"
done
