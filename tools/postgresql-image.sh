#!/usr/bin/env bash
# Makes an image of this machine's PostgreSQL server, for tests: `tools/postgresql-image.sh TAG`.
#
# The image has the server, the libraries that it loads, a shell, a few commands, and the user of distq's containers. User,
# folders and PATH of the official image `postgres` are there too. It is not built in a container, which may reach no
# package archive.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: tools/postgresql-image.sh TAG, for example: tools/postgresql-image.sh postgresql:test" >&2
    exit 2
fi
initdb=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1 || command -v initdb) || {
    echo "tools/postgresql-image.sh: no PostgreSQL server was found; on Debian run: apt-get install postgresql" >&2
    exit 1
}
programs=$(dirname "$(readlink -f "$initdb")")
folders=("$(dirname "$programs")" "$("$programs/pg_config" --sharedir)" /usr/share/zoneinfo)
extra=$(mktemp -d)
trap 'rm -rf "$extra"' EXIT
mkdir -p "$extra/etc" "$extra/run" "$extra/var/lib/postgresql"
mkdir -m 1777 "$extra/tmp" "$extra/run/postgresql" "$extra/var/lib/postgresql/data"
printf '%s\n' 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' 'distq:x:65532:65532::/tmp:/bin/sh' >"$extra/etc/passwd"
commands=(/bin/sh /bin/ls /bin/cat /bin/mv /bin/rm /bin/sleep)

# Without the compiler of queries, which is larger than all the rest.
mapfile -t libraries < <(find "${folders[0]}" "${commands[@]}" ! -name 'llvmjit*' -exec ldd {} + 2>/dev/null |
    sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | sort -u)
tar --create --dereference --hard-dereference --exclude='*llvmjit*' --exclude='*/bitcode' \
    --directory / "${folders[@]/#\//}" "${commands[@]/#\//}" "${libraries[@]/#\//}" --directory "$extra" etc run tmp var |
    docker import --change "ENV PATH=$programs:/bin" - "$1"
