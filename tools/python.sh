#!/usr/bin/env bash
# Unpacks CPython 3.MINOR of Debian unstable below a folder and prints the path of its command: `tools/python.sh 15 DIR`.
#
# It is for tests on a Python that this machine does not have. apt downloads the packages from the Debian mirror of this
# machine, with separate package lists and a separate cache: it installs nothing, and ignores installed packages. The
# interpreter uses the loader and the C library that are unpacked with it. A second call only prints the path.
set -euo pipefail

if [ $# -ne 2 ] || ! [[ $1 =~ ^[0-9]+$ ]]; then
    echo "usage: tools/python.sh MINOR FOLDER, for example: tools/python.sh 15 /tmp/python-3.15" >&2
    exit 2
fi
name=python3.$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
root=$folder/root
command=$root/usr/bin/$name

if "$command" -c "import ssl, sqlite3, venv" 2>/dev/null; then
    echo "$command"
    exit
fi

# shellcheck disable=SC2016 # $(SITE) is apt's own
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sed -n '/\/debian\/\{0,1\}$/{p;q;}')
if [ -z "$mirror" ]; then
    echo "tools/python.sh: apt on this machine has no Debian mirror to take $name from." >&2
    exit 1
fi
rm -rf "$root"
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$root"
printf 'deb %s sid main\n' "$mirror" >"$folder/sources.list"
: >"$folder/status" # no package counts as installed, so apt downloads all dependencies

apt() {
    apt-get -qq -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=- \
        -o "Dir::State::Lists=$folder/lists" -o "Dir::State::Status=$folder/status" -o "Dir::Cache=$folder/cache" \
        -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@" >&2
}
apt update
# -dev is for packages that have no wheel for a new Python and must be compiled.
apt --yes --download-only --no-install-recommends install "$name" "$name-dev"
for package in "$folder"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$root"
done

libraries=$(dirname "$(find "$root" -name libc.so.6 -print -quit)")
loader=$(find "$libraries" -name 'ld-linux*.so.*' -print -quit)
mv "$command" "$command.elf"
# --argv0: Python uses the name of its command to find its library and to start itself again.
cat >"$command" <<END
#!/bin/sh
exec "$loader" --argv0 "\$0" --library-path "$libraries" "$command.elf" "\$@"
END
chmod +x "$command"
rm -rf "$folder/cache" "$folder/lists"
"$command" -c "import ssl, sqlite3, venv" >&2
echo "$command"
