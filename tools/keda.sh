#!/usr/bin/env bash
# Builds images of KEDA's operator and metrics server from the Go module proxy: keda.sh FOLDER. FOLDER keeps the source of
# the module, with the definitions and roles that the tests apply, and the compiled programs. The first build takes half
# an hour (3,700 packages); later runs reuse the programs. It needs Go 1.26 and a container engine.
set -euo pipefail
VERSION=2.21.0
base=$(sed -n 's/^ARG BASE=//p' "$(dirname "$0")/../images/Dockerfile") # the engine has it, because distq's images are built on it
folder=$(mkdir -p "$1" && cd "$1" && pwd)
source=$folder/src

if ! [ -f "$source/go.mod" ]; then
    cache=$(go mod download -json "github.com/kedacore/keda/v2@v$VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    cp -r "$cache" "$source.new"
    chmod -R u+w "$source.new"
    mv "$source.new" "$source"
fi
for program in adapter operator; do
    if ! [ -x "$folder/bin/keda-$program" ]; then
        (cd "$source" && CGO_ENABLED=0 nice go build -trimpath -ldflags '-s -w' -o "$folder/bin/keda-$program" "./cmd/$program")
    fi
    printf 'FROM %s\nCOPY keda-%s /\nUSER 65532:65532\nENTRYPOINT ["/keda-%s"]\n' "$base" "$program" "$program" |
        docker build --quiet --tag "keda-$program:$VERSION" --file - "$folder/bin"
done
