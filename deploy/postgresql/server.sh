#!/bin/sh
# One of the two PostgreSQL servers of the profile `replicated` in compose.yaml. SERVER is its name, PEER the other's.
#
#   start     begins a new database, or a copy of the peer's, and runs the server
#   health    exits with 1 and a sentence if a commit would wait, or if this standby does not follow
#   alone     commits do not wait for the standby any more
#   paired    commits wait for the standby
#   promote   makes this standby the server that accepts writes; stop the other one before
#
# Servers share a folder: `password`, which the masters read too, and `primary`, the name of the server that may accept
# writes. A server that was replaced therefore never accepts writes again.
set -eu

volume=/var/lib/postgresql/data
shared=/run/postgresql # belongs to the user in the image, so a new volume does too
new=$volume/new
export PGDATA=$volume/main PGPASSFILE=/tmp/passwords PGCONNECT_TIMEOUT=3
# Without the quotes the name with a hyphen is no name. A server is no standby of its own.
both="'\"database\",\"database-standby\"'"

say() {
    printf '%s: %s\n' "$SERVER" "$1" >&2
}

sql() {
    psql --host=/tmp --username=postgres --dbname=postgres --no-psqlrc --quiet --tuples-only --no-align \
        --set=ON_ERROR_STOP=1 "$@"
}

# Writes a file of the shared folder, which appears complete.
share() {
    (umask 0222 && printf '%s\n' "$2" >"$shared/$1.$SERVER")
    mv -f "$shared/$1.$SERVER" "$shared/$1"
}

primary() {
    [ -f "$shared/primary" ] && read -r name <"$shared/primary" && printf '%s' "$name"
}

password_file() {
    read -r password <"$shared/password"
    (umask 077 && printf '*:*:*:*:%s\n' "$password" >"$PGPASSFILE")
}

peer_accepts_writes() {
    answer=$(psql --host="$PEER" --username=standby --dbname=postgres --no-password --no-psqlrc --tuples-only \
        --no-align --command='SELECT NOT pg_is_in_recovery()' 2>/dev/null) && [ "$answer" = t ]
}

standbys_are() {
    sql --command="ALTER SYSTEM SET synchronous_standby_names = $1" --command='SELECT pg_reload_conf()' >/dev/null
}

begin() {
    read -r one </proc/sys/kernel/random/uuid
    read -r two </proc/sys/kernel/random/uuid
    password=$one-$two
    initdb --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C --data-checksums --auth-local=peer \
        --auth-host=scram-sha-256
    (umask 077 && printf '%s\n' "$password" >"$new/password")
    cat >"$new/pg_hba.conf" <<END
local all postgres peer
host distq distq samenet scram-sha-256
host postgres standby samenet scram-sha-256
host replication standby samenet scram-sha-256
END
    cat >>"$new/postgresql.conf" <<END
listen_addresses = '*'
unix_socket_directories = '/tmp'
wal_keep_size = '1GB' # a standby that was away while more was written must be made again
END
    pg_ctl --pgdata="$new" --wait --silent --options="-c listen_addresses=" start
    sql <<END
CREATE ROLE distq LOGIN PASSWORD '$password';
CREATE ROLE standby LOGIN REPLICATION PASSWORD '$password';
CREATE DATABASE distq OWNER distq;
\\connect distq
CREATE SCHEMA distq AUTHORIZATION distq;
END
    standbys_are "$both"
    pg_ctl --pgdata="$new" --wait --silent --mode=fast stop
}

copy() {
    say "waits until $PEER accepts writes, to copy its data"
    until [ -f "$shared/password" ] && password_file && peer_accepts_writes; do
        sleep 1 # the peer sends no signal
    done
    pg_basebackup --host="$PEER" --username=standby --no-password --pgdata="$new" --checkpoint=fast
    : >"$new/standby.signal"
}

start() {
    if [ ! -d "$PGDATA" ]; then
        rm -rf "$new"
        if [ "$SERVER" = database ] && [ -z "$(primary)" ]; then begin; else copy; fi
        mv "$new" "$PGDATA"
    fi
    # What a server that ended in between had not written yet.
    [ -f "$shared/password" ] || { read -r password <"$PGDATA/password" && share password "$password"; }
    [ -f "$PGDATA/standby.signal" ] || [ -n "$(primary)" ] || share primary "$SERVER"
    password_file
    if [ ! -f "$PGDATA/standby.signal" ] && [ "$(primary)" != "$SERVER" ]; then
        say "$PEER was promoted and accepts the writes. Remove this container and its volume: the next start copies $PEER."
        exit 1
    fi
    exec postgres -c "primary_conninfo=host=$PEER user=standby passfile=$PGPASSFILE application_name=$SERVER"
}

health() {
    # Each answer is assigned first: the shell ends at a failure there, and not inside a test.
    recovers=$(sql --command='SELECT pg_is_in_recovery()')
    following=$(sql --command="SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")
    waits_for=$(sql --command='SHOW synchronous_standby_names')
    standbys=$(sql --command="SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
    if [ "$recovers" = t ]; then
        [ "$following" = 1 ] || { say "does not follow $PEER" && exit 1; }
    elif [ -n "$waits_for" ] && [ "$standbys" != 1 ]; then
        say "commits wait, because $PEER does not follow. Start $PEER, or call \`alone\`."
        exit 1
    fi
}

promote() {
    if peer_accepts_writes; then
        say "$PEER accepts writes. Stop it first: \`docker compose stop $PEER\`."
        exit 1
    fi
    share primary "$SERVER"
    standbys_are "''"
    sql --command='SELECT pg_promote()' >/dev/null
    say "accepts writes now, without a standby"
}

case ${1-} in
    start | health | promote) "$1" ;;
    alone) standbys_are "''" ;;
    paired) standbys_are "$both" ;;
    *)
        say "expected start, health, alone, paired or promote"
        exit 2
        ;;
esac
