#!/usr/bin/env bash
# A base for the images where no registry can be reached: Debian 12 with Python 3.11, made by debootstrap and buildah.
# Needs root, and the packages debootstrap and buildah. A minute. Use: images/debian-base.sh [NAME]
# DEBIAN_MIRROR names another mirror than debootstrap's own.
set -euo pipefail
name=${1:-localhost/boresight-base:bookworm}
for tool in debootstrap buildah; do
  command -v "$tool" > /dev/null || { echo "$tool is missing: apt-get install debootstrap buildah" >&2; exit 1; }
done
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" \
  ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$root.log" ||
  { tail -5 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# What an image does not need: what was downloaded, and what people read.
rm -rf "$root"/var/{cache,log,lib/apt/lists}/* "$root"/usr/share/{doc,man,info,locale,lintian}/* "$root"/dev/*
container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / > /dev/null
buildah config --env PATH=/usr/local/bin:/usr/bin:/bin --cmd /bin/sh "$container"
buildah commit --quiet --rm "$container" "$name" > /dev/null
echo "$name"
