#!/usr/bin/env bash
# Makes a base image with CPython 3.MINOR where no registry has one: `tools/base-image.sh 15 TAG FROM`.
#
# The image is FROM (a Debian image with pip), with the interpreter that tools/python.sh unpacks at the path at which
# official Python images have theirs. It is for tests: users build on an official image.
set -euo pipefail

if [ $# -ne 3 ] || ! [[ $1 =~ ^[0-9]+$ ]]; then
    echo "usage: tools/base-image.sh MINOR TAG FROM, for example: tools/base-image.sh 15 base:3.15 python:3.13-slim" >&2
    exit 2
fi
name=python3.$1
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command=$("$home/tools/python.sh" "$1" "$home/.venv/pythons/3.$1")

# pip may install for this interpreter, as in official images; its C library replaces the older one of FROM.
docker build --quiet --tag "$2" --file - "${command%/usr/bin/"$name"}" <<END
FROM $3
COPY usr/lib /usr/lib
COPY usr/bin/$name.elf /usr/bin/$name
RUN rm -f /usr/lib/$name/EXTERNALLY-MANAGED \\
    && ln -sf /usr/bin/$name /usr/local/bin/python3 && ln -sf python3 /usr/local/bin/python
END
