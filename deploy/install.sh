#!/bin/sh
# Installs towntwin on this Debian 13 machine, without containers, from this checkout. Run it as root, as often as
# you like: what is done already is left alone. See docs/howto/operate/install.md.
set -eu
umask 022 # root's own may be stricter: users of the processes read what is installed; secrets get a mode of their own

usage() {
    cat <<'USAGE'
usage: sudo deploy/install.sh [OPTION]…

  --host NAME     a name or address by which devices reach this machine (repeatable; default: its host name and
                  first address); certificates of this machine's authority that lack it get it
  --shard NAME    a shard of ingest (repeatable; default: main)
  --standby       a second process of each shard, which takes over when the first ends
  --backup DIR    back up the database every five minutes into DIR, encrypted: a folder on another disk or a share
  --hj212         the server of HJ 212 stations too, on port 2120 (needs /etc/towntwin/stations.toml)
  --federate-to HOST  forward this town to its county, whose broker is at HOST, port 8884 (needs
                  /etc/towntwin/federation/federation.toml and `towntwin federate enrol`)
  --federate-receive  this is a county: receive what towns forward
  --upgrade       install this checkout over an older one: stop, migrate, switch, start
  --uninstall     stop and remove programs and units; keep database, secrets and configuration
  --purge-data    with --uninstall: delete database, secrets, configuration, users and the broker's users too
  --dry-run       print what would be done, and do nothing
  --help          this text
USAGE
}

ETC=/etc/towntwin
OPT=/opt/towntwin
UNITS=/etc/systemd/system
VARIABLES=TOWNTWIN_DSN
DATABASE=towntwin
PACKAGES="ca-certificates python3 python3-venv openssl postgresql-17 postgresql-17-timescaledb mosquitto"
CLUSTER="17 main"
# The user of each process, which is its database user too, and the group role of the migrations that it is in.
ACCOUNTS="ingest:towntwin_ingest service:towntwin_analytics gateway:towntwin_gateway access:towntwin_access hj212:towntwin_ingest federate-send:towntwin_ingest federate-receive:towntwin_ingest"
BROKER_USERS="towntwin-ingest towntwin-hj212 towntwin-federate-receive"
OWNER=towntwin-admin # owns the database, and runs the administrator's commands
SOURCES="analytics dashboards deploy edge gateway ingest_service towntwin pyproject.toml README.md LICENSE requirements/run.txt"

action=install
dry_run=false
purge=false
standby=false
hj212=false
county=""
federate_receive=false
backup=""
hosts=""
shards=""

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

while [ $# -gt 0 ]; do
    case $1 in
    --host | --shard)
        [ $# -gt 1 ] || fail "$1 needs a value" 2
        case $2 in
        '' | *[!A-Za-z0-9.:_-]*) fail "$1 $2: letters, digits, dots, colons, hyphens and underscores only" 2 ;;
        esac
        if [ "$1" = --host ]; then hosts="$hosts $2"; else shards="$shards $2"; fi
        shift
        ;;
    --federate-to)
        [ $# -gt 1 ] || fail "$1 needs a value" 2
        case $2 in
        '' | *[!A-Za-z0-9.-]*) fail "$1 $2: a name or an IPv4 address of the county's broker is needed" 2 ;;
        esac
        county=$2
        shift
        ;;
    --backup)
        [ $# -gt 1 ] || fail "$1 needs a value" 2
        case $2 in
        *[!A-Za-z0-9._/-]*) fail "$1 $2: letters, digits, dots, slashes, hyphens and underscores only" 2 ;;
        /*) backup=$2 ;;
        *) fail "$1 $2: an absolute path is needed" 2 ;;
        esac
        shift
        ;;
    --standby) standby=true ;;
    --hj212) hj212=true ;;
    --federate-receive) federate_receive=true ;;
    --upgrade) action=upgrade ;;
    --uninstall) action=uninstall ;;
    --purge-data) purge=true ;;
    --dry-run) dry_run=true ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        usage >&2
        fail "unknown option $1" 2
        ;;
    esac
    shift
done
$purge && [ $action != uninstall ] && fail "--purge-data belongs to --uninstall" 2
shards=${shards:- main}

# -- helpers ------------------------------------------------------------------------------------------------------

step() {
    echo "== $1"
}

run() {
    if $dry_run; then
        echo "   $*"
    else
        "$@"
    fi
}

# A file's content from standard input; it is replaced at once and only where it differs.
write_file() { # mode owner path
    if $dry_run; then
        cat >/dev/null
        echo "   write $3 (mode $1, owner $2)"
        return
    fi
    cat >"$3.new"
    if [ -f "$3" ] && cmp -s "$3.new" "$3"; then
        rm "$3.new"
    else
        mv "$3.new" "$3"
        changed="$changed $3"
    fi
    chown "$2" "$3"
    chmod "$1" "$3"
}

# A configuration that its owner may have changed: written once.
write_once() { # mode owner path
    if [ -e "$3" ]; then
        cat >/dev/null
        return
    fi
    write_file "$1" "$2" "$3"
}

# An environment that its owner may have changed: variables that a newer version needs are added to it.
complete_file() { # mode owner path
    if ! [ -r "$3" ]; then
        write_file "$1" "$2" "$3"
        return
    fi
    missing=$(
        while IFS= read -r line; do
            case $line in
            TOWNTWIN_*=*) grep -q "^[#[:space:]]*${line%%=*}=" "$3" || echo "$line" ;;
            esac
        done
    )
    [ -n "$missing" ] || return 0
    if $dry_run; then
        echo "$missing" | sed "s|=.*||; s|^|   add to $3: |"
        return
    fi
    [ -z "$(tail -c 1 "$3")" ] || echo >>"$3"
    echo "$missing" >>"$3"
    changed="$changed $3"
}

has_systemd() {
    [ -d /run/systemd/system ]
}

service() { # verb name…
    verb=$1
    shift
    if has_systemd; then
        run systemctl "$verb" "$@"
    else
        echo "   (systemd does not run here: $verb $* is left out)"
    fi
}

start_postgres() {
    if has_systemd; then
        if [ "$1" = restart ]; then run systemctl restart "postgresql@17-main"; else run systemctl start "postgresql@17-main"; fi
        return
    fi
    # shellcheck disable=SC2086 # version and name of the cluster
    if [ "$1" = restart ] || ! pg_ctlcluster $CLUSTER status >/dev/null 2>&1; then run pg_ctlcluster $CLUSTER "$1"; fi
}

as_user() { # user command…
    user=$1
    shift
    run runuser -u "$user" -- "$@"
}

psql_admin() { # SQL from standard input
    if $dry_run; then
        sed 's/^/   psql: /'
    else
        runuser -u postgres -- psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --dbname "${1:-postgres}" --output /dev/null --file -
    fi
}

groups_of_processes() {
    for account in $ACCOUNTS; do echo "towntwin-${account%%:*}"; done | paste -s -d , -
}

units() {
    for shard in $shards; do
        echo "towntwin-ingest@$shard.service"
        if $standby; then echo "towntwin-ingest-standby@$shard.service"; fi
    done
    echo towntwin-service.service towntwin-gateway.service towntwin-access.service
    if $hj212; then echo towntwin-hj212.service; fi
    if [ -n "$county" ]; then echo towntwin-federate-send.service; fi
    if $federate_receive; then echo towntwin-federate-receive.service; fi
}

timers() {
    echo towntwin-certificates.timer
    if [ -n "$county" ]; then echo towntwin-federate-renew.timer; fi
    if [ -n "$backup" ]; then echo towntwin-backup.timer; fi
}

# -- steps of an installation -------------------------------------------------------------------------------------

check_machine() {
    [ "$(id -u)" = 0 ] || $dry_run || fail "run it as root (sudo), or with --dry-run to print what it would do"
    # shellcheck source=/dev/null
    . /etc/os-release
    [ "${ID:-}" = debian ] && [ "${VERSION_ID:-0}" -ge 13 ] || $dry_run ||
        fail "this is ${PRETTY_NAME:-no Debian}: it installs on Debian 13 (trixie)"
    cd "$(dirname "$0")/.."
    for one in $SOURCES; do
        [ -e "$one" ] || fail "$PWD has no $one: run it from a complete checkout"
    done
    named_hosts=$hosts
    hosts=${hosts:-" $(uname -n) $(hostname -I 2>/dev/null | cut -d" " -f1)"}
}

install_packages() {
    step "Debian packages: $PACKAGES"
    missing=""
    for one in $PACKAGES; do
        dpkg-query --show --showformat='${db:Status-Status}' "$one" 2>/dev/null | grep -qx installed || missing="$missing $one"
    done
    if [ -n "$missing" ]; then
        run apt-get update -qq || :
        # shellcheck disable=SC2086 # a list of packages
        run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing ||
            fail "apt-get could not install$missing: check the network and /etc/apt, then run it again"
    fi
}

make_users() {
    step "system users, one for each process"
    for account in $ACCOUNTS; do
        make_user "towntwin-${account%%:*}" /nonexistent
    done
    make_user towntwin /var/lib/towntwin # the edge agent's, where one runs here
    make_user $OWNER /var/lib/towntwin-admin
}

make_user() { # name home
    id "$1" >/dev/null 2>&1 || run useradd --system --user-group --no-create-home --home-dir "$2" --shell /usr/sbin/nologin "$1"
}

make_folders() {
    step "folders"
    run install -d -m 0755 -o root -g root $ETC $ETC/tls $OPT
    run install -d -m 0711 -o root -g root $ETC/secrets
    run install -d -m 0750 -o $OWNER -g $OWNER $ETC/sites /var/lib/towntwin-admin
    # The policy of a town, and its certificate at the county, which the forwarder's user collects.
    run install -d -m 0750 -o towntwin-federate-send -g towntwin-federate-send $ETC/federation
    # Secrets of messengers: the administrator's commands write them, the service reads them by its group.
    run install -d -m 2750 -o $OWNER -g towntwin-service $ETC/secrets/notification
}

# Each version has an environment of its own, and bin is a link to one: the switch is one step.
install_programs() {
    # shellcheck disable=SC2086 # a list of paths
    version=$(find $SOURCES -type f ! -name '*.pyc' -exec sha256sum {} + | LC_ALL=C sort -k2 | sha256sum | cut -c1-12)
    venv=$OPT/venv-$version
    step "programs in $venv"
    if [ ! -e "$venv/complete" ]; then
        run rm -rf "$venv"
        run python3 -m venv "$venv"
        run "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/run.txt ||
            fail "pip could not install requirements/run.txt into $venv: check the network, pip's index and the space on the disk, then run it again"
        build=$(mktemp -d)
        # The wheel is built from a copy: the checkout stays as it is.
        # shellcheck disable=SC2086 # a list of paths
        run cp -a --parents $SOURCES "$build"
        run "$venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$build/wheel" "$build"
        if $dry_run; then
            echo "   $venv/bin/python -m pip install --no-deps $build/wheel/towntwin-*.whl"
        else
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$build"/wheel/towntwin-*.whl
            "$venv/bin/python" -m compileall -q "$venv"/lib >/dev/null 2>&1 || :
            # half a minute, which ingest, service and gateway would each wait for after the switch
            "$venv/bin/python" -P -c 'from analytics.core import judge; judge.warm_up()' || : # not the checkout's
            touch "$venv/complete"
        fi
        rm -rf "$build"
    fi
}

switch_programs() {
    step "switch to $venv"
    previous=$(readlink $OPT/bin 2>/dev/null || :)
    run ln -sfn "$venv/bin" $OPT/bin.new
    run mv -T $OPT/bin.new $OPT/bin
    for old in "$OPT"/venv-*; do
        [ "$old" = "$venv" ] || [ "$old/bin" = "$previous" ] || [ ! -d "$old" ] || run rm -rf "$old"
    done
    write_file 0755 root:root /usr/local/sbin/towntwin <<WRAPPER
#!/bin/sh
# The administrator's commands, as the owner of the database: towntwin setup, towntwin key create …
[ "\$(id -u)" = 0 ] || { echo "towntwin: run it by sudo" >&2; exit 1; }
umask 077
if [ -e $ETC/backup.env ]; then set -a && . $ETC/backup.env && set +a; fi
case "\${1:-} \${2:-}" in
"federate enrol" | "federate renew")
    set -a && . $ETC/federate-send.env && set +a
    exec runuser -u towntwin-federate-send -- $OPT/bin/towntwin "\$@"
    ;;
esac
[ "\${1:-}" != backup ] || exec runuser -u postgres -- $OPT/bin/towntwin "\$@"
[ "\${1:-}" != ca ] || exec $OPT/bin/towntwin "\$@" # its files are of root and of each server's user
if [ "\${1:-}" = doctor ]; then # the broker as ingest has it, and what the processes' groups may read
    set -a && . $ETC/ingest.env && set +a
    case " \$* " in
    *" --security "*)
        for file in $ETC/*.env; do
            case \$file in */backup.env | */edge.env) ;; *) set -- "\$@" --environment-file "\$file" ;; esac
        done
        ;;
    esac
    export $VARIABLES="postgresql://$OWNER@/$DATABASE?host=/run/postgresql"
    exec setpriv --reuid $OWNER --regid $OWNER --groups "$(groups_of_processes)" -- $OPT/bin/towntwin "\$@"
fi
export $VARIABLES="postgresql://$OWNER@/$DATABASE?host=/run/postgresql"
exec runuser -u $OWNER -- $OPT/bin/towntwin "\$@"
WRAPPER
}

make_secrets() {
    step "authority, certificates of broker and gateway, passwords (kept where they are there)"
    certified=$hosts
    # An address of the machine that changes is no reason for another certificate, a name that was given is.
    if [ -e $ETC/tls/broker.crt ]; then certified=$named_hosts; fi
    # shellcheck disable=SC2086 # a list of hosts
    run "$venv/bin/python" -m deploy.box $ETC localhost 127.0.0.1 $certified
    run chown -R towntwin-access:towntwin-access $ETC/authority
    run chmod 0711 $ETC/authority # its certificate is for all, its key for that user alone
    run chmod 0644 $ETC/tls/ca.crt $ETC/tls/broker.crt $ETC/tls/gateway.crt
    # `towntwin ca renew` gives a new key to the owner of the old one.
    run chown mosquitto:mosquitto $ETC/tls/broker.key
    run chown towntwin-gateway:towntwin-gateway $ETC/tls/gateway.key
    run chmod 0600 $ETC/tls/broker.key $ETC/tls/gateway.key
    for user in admin $BROKER_USERS; do
        group=$user
        if [ "$user" = admin ]; then group=towntwin-access; fi
        run chown "root:$group" "$ETC/secrets/$user.password"
        run chmod 0640 "$ETC/secrets/$user.password"
    done
}

configure_postgres() {
    step "PostgreSQL: TimescaleDB, database $DATABASE, a user for each process over the unix socket (peer)"
    changed=""
    write_file 0644 postgres:postgres /etc/postgresql/17/main/conf.d/towntwin.conf <<'CONF'
# Written by towntwin's install.sh.
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
listen_addresses = 'localhost'
password_encryption = 'scram-sha-256'
# A backup that fails for long fills no disk: its slot gives up the log, and the next one begins anew.
max_slot_wal_keep_size = 8GB
CONF
    if [ -n "$changed" ]; then start_postgres restart; else start_postgres start; fi
    check_cluster
    {
        role_sql $OWNER "CREATEROLE"
        # The gateway's area scopes are signed if the owner can read when a session began (docs/access.md).
        echo "SET client_min_messages = warning; GRANT pg_read_all_stats TO \"$OWNER\";"
        for account in $ACCOUNTS; do role_sql "towntwin-${account%%:*}" ""; done
        echo "SELECT 'CREATE DATABASE $DATABASE OWNER \"$OWNER\" ENCODING ''UTF8'' TEMPLATE template0' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$DATABASE') \\gexec"
        echo "REVOKE CONNECT ON DATABASE $DATABASE FROM PUBLIC;"
        for account in $ACCOUNTS; do echo "GRANT CONNECT ON DATABASE $DATABASE TO \"towntwin-${account%%:*}\";"; done
    } | psql_admin
    # A superuser makes the extension, since its functions are of a library.
    echo "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS timescaledb;" | psql_admin $DATABASE
}

# With a cluster of an older Debian on port 5432, the socket that everything here uses is that one's.
check_cluster() {
    if $dry_run; then return 0; fi
    found=$(runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --command "SHOW data_directory") || found=none
    [ "$found" = /var/lib/postgresql/17/main ] ||
        fail "the server on port 5432 is not the cluster 17/main but $found: upgrade or move that one (pg_lsclusters), and give 17/main the port 5432"
}

role_sql() { # name attributes
    echo "SELECT 'CREATE ROLE \"$1\" LOGIN $2' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$1') \\gexec"
}

migrate_database() {
    step "schema of the database"
    as_user $OWNER env "TOWNTWIN_DSN=postgresql://$OWNER@/$DATABASE?host=/run/postgresql" "$venv/bin/towntwin" db migrate
    for account in $ACCOUNTS; do
        echo "SET client_min_messages = warning; GRANT ${account#*:} TO \"towntwin-${account%%:*}\";"
    done | psql_admin $DATABASE
    echo "GRANT CONNECT ON DATABASE $DATABASE TO towntwin_grafana;" | psql_admin # the owner's Grafana is a member
}

configure_mosquitto() {
    step "Mosquitto: TLS on 8883 (passwords) and 8884 (certificates), no anonymous access"
    plugin=$(find /usr/lib -name mosquitto_dynamic_security.so 2>/dev/null | head -n 1)
    changed=""
    write_file 0644 root:root /etc/mosquitto/conf.d/towntwin.conf <<CONF
# Written by towntwin's install.sh. Passwords, roles and topics of all users are in the plugin's file.
allow_anonymous false
plugin ${plugin:-/usr/lib/mosquitto_dynamic_security.so}
plugin_opt_config_file /var/lib/mosquitto/dynamic-security.json
# What devices published while ingest is away is kept; devices keep it too, until its receipt.
max_queued_messages 100000
max_packet_size 1048576

listener 8883
cafile $ETC/tls/ca.crt
certfile $ETC/tls/broker.crt
keyfile $ETC/tls/broker.key
tls_version tlsv1.2

listener 8884
cafile $ETC/tls/ca.crt
certfile $ETC/tls/broker.crt
keyfile $ETC/tls/broker.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
CONF
    run install -d -m 0755 $UNITS/mosquitto.service.d
    write_file 0644 root:root $UNITS/mosquitto.service.d/towntwin.conf <<CONF
# Written by towntwin's install.sh. Each connection takes a file handle; systemd's default is 1,024.
[Service]
LimitNOFILE=65536
CONF
    if has_systemd; then run systemctl daemon-reload; fi
    if [ ! -e /var/lib/mosquitto/dynamic-security.json ]; then
        run install -m 0600 -o mosquitto -g mosquitto $ETC/secrets/dynamic-security.json /var/lib/mosquitto/dynamic-security.json
        changed="$changed users"
    else
        add_broker_users
    fi
    # It reads a certificate that got another name at a reload.
    if [ -n "$changed" ]; then service restart mosquitto.service; else service reload-or-restart mosquitto.service; fi
}

# A newer version may have users that the broker lacks. Its file is changed while it is stopped: it writes it itself.
add_broker_users() {
    for user in $BROKER_USERS; do
        grep -qs "\"$user\"" /var/lib/mosquitto/dynamic-security.json && continue
        service stop mosquitto.service
        run "$venv/bin/python" -m deploy.box.missing_users /var/lib/mosquitto/dynamic-security.json $ETC/secrets/dynamic-security.json
        changed="$changed users"
        return
    done
}

# The folder of PostgreSQL, and that of its log where a link leads to another one.
database_disks() {
    wal=$(readlink -f "/var/lib/postgresql/17/main/pg_wal" 2>/dev/null || :)
    case $wal in
    '' | /var/lib/postgresql/17/main/*) echo /var/lib/postgresql ;;
    *) echo "/var/lib/postgresql,$(dirname "$wal")" ;;
    esac
}

# The gateway of the first versions of this script had no TLS, and only this machine could reach it.
move_gateway_to_https() {
    file=$ETC/gateway.env
    [ -r $file ] || return 0
    grep -q '^TOWNTWIN_GATEWAY_HOST=127.0.0.1$' $file && grep -q '^TOWNTWIN_GATEWAY_PORT=8080$' $file || return 0
    if grep -q 'TOWNTWIN_GATEWAY_TLS_CERT=' $file; then return 0; fi
    echo "   the gateway moves from http://127.0.0.1:8080 to https on port 8443: a proxy before it has to follow, or"
    echo "   restore $file.before and put a # before its new variables"
    if $dry_run; then return 0; fi
    cp -p $file $file.before
    sed -i -e '/^TOWNTWIN_GATEWAY_HOST=/d' -e '/^TOWNTWIN_GATEWAY_PORT=/d' $file
}

write_environments() {
    step "environments of the processes, readable by root and the process"
    move_gateway_to_https
    broker="mqtts://%s@localhost:8883"
    for account in $ACCOUNTS; do
        name=${account%%:*}
        {
            echo "# Settings of towntwin $name (docs/settings.md). Change it as you like, then restart. A variable that is missing is
# added by the next install.sh; with a # before it, it is left alone."
            echo "TOWNTWIN_DSN=postgresql://towntwin-$name@/$DATABASE?host=/run/postgresql"
            echo "TOWNTWIN_LOG_FORMAT=json"
            case $name in
            ingest | hj212 | federate-receive)
                # shellcheck disable=SC2059 # the format has one place for the user
                printf "TOWNTWIN_BROKER=$broker\n" "towntwin-$name"
                echo "TOWNTWIN_BROKER_CA=$ETC/tls/ca.crt"
                echo "TOWNTWIN_BROKER_PASSWORD_FILE=$ETC/secrets/towntwin-$name.password"
                ;;
            esac
            case $name in
            # Mount points of their own or not: the disks of the database and of its log.
            ingest) echo "TOWNTWIN_INGEST_DISK_FOLDER=$(database_disks)" ;;
            service)
                echo "TOWNTWIN_SERVICE_SECRETS_FOLDER=$ETC/secrets/notification"
                echo "TOWNTWIN_SERVICE_WATCH_CERTIFICATES=$ETC/tls/broker.crt,$ETC/tls/gateway.crt"
                echo "TOWNTWIN_SERVICE_WATCH_DISKS=$(database_disks)"
                if [ -n "$backup" ]; then echo "TOWNTWIN_SERVICE_WATCH_BACKUPS=$backup"; fi
                ;;
            gateway)
                first=$(echo "$hosts" | awk '{print $1}')
                echo "TOWNTWIN_GATEWAY_HOST=0.0.0.0"
                echo "TOWNTWIN_GATEWAY_PORT=8443"
                echo "TOWNTWIN_GATEWAY_TLS_CERT=$ETC/tls/gateway.crt"
                echo "TOWNTWIN_GATEWAY_TLS_KEY=$ETC/tls/gateway.key"
                echo "TOWNTWIN_GATEWAY_DEVICE_BROKER=mqtts://$first:8883"
                echo "TOWNTWIN_GATEWAY_DEVICE_CERTIFICATE_BROKER=mqtts://$first:8884"
                echo "TOWNTWIN_GATEWAY_DEVICE_CA=$ETC/tls/ca.crt"
                ;;
            access)
                echo "TOWNTWIN_ACCESS_ADMIN=mqtts://admin@localhost:8883"
                echo "TOWNTWIN_ACCESS_ADMIN_PASSWORD_FILE=$ETC/secrets/admin.password"
                echo "TOWNTWIN_ACCESS_AUTHORITY=$ETC/authority"
                echo "TOWNTWIN_BROKER_CA=$ETC/tls/ca.crt"
                ;;
            hj212)
                echo "TOWNTWIN_HJ212_HOST=0.0.0.0"
                echo "TOWNTWIN_HJ212_STATIONS=$ETC/stations.toml"
                ;;
            federate-send)
                if [ -n "$county" ]; then echo "TOWNTWIN_BROKER=mqtts://$county:8884"; fi
                echo "TOWNTWIN_BROKER_CA=$ETC/federation/broker-ca.crt"
                echo "TOWNTWIN_BROKER_CERTIFICATE=$ETC/federation/box.crt"
                echo "TOWNTWIN_BROKER_KEY=$ETC/federation/box.key"
                echo "TOWNTWIN_FEDERATE_POLICY=$ETC/federation/federation.toml"
                ;;
            esac
        } | complete_file 0640 "root:towntwin-$name" "$ETC/$name.env"
    done
    complete_file 0640 root:towntwin-ingest $ETC/ingest-standby.env <<'ENVIRONMENT'
# What a standby of ingest has of its own, beside ingest.env: its port of metrics, as both run at once.
TOWNTWIN_INGEST_METRICS_PORT=0
ENVIRONMENT
}

# The whole server is copied, so it is done as its superuser; the key is for that user alone.
configure_backup() {
    [ -n "$backup" ] || return 0
    key=/var/lib/postgresql/towntwin-backup.key
    step "backups into $backup; copy $key to a place that is neither this machine nor that disk"
    # Others may enter it, to read when the last run was; the backups themselves are for postgres alone, and encrypted.
    run install -d -m 0711 -o postgres -g postgres "$backup"
    write_once 0640 root:postgres $ETC/backup.env <<ENVIRONMENT
# Settings of towntwin backup (docs/settings.md). Written once: change it as you like.
TOWNTWIN_BACKUP_TARGET=$backup
TOWNTWIN_BACKUP_KEY_FILE=$key
TOWNTWIN_BACKUP_SUPERUSER_DSN=postgresql:///postgres?host=/run/postgresql
TOWNTWIN_BACKUP_PROGRAMS=/usr/lib/postgresql/17/bin
TOWNTWIN_BACKUP_DATA=/var/lib/postgresql/17/main
ENVIRONMENT
    [ -e $key ] || as_user postgres env "TOWNTWIN_BACKUP_TARGET=$backup" "TOWNTWIN_BACKUP_KEY_FILE=$key" "$OPT/bin/towntwin" backup init
}

install_units() {
    step "systemd units"
    for unit in deploy/systemd/*.service deploy/systemd/*.timer deploy/systemd/towntwin.target; do
        name=$(basename "$unit")
        write_file 0644 root:root "$UNITS/$name" <"$unit"
    done
    # journald keeps the logs of all of them: at most 1 GB and three months.
    run install -d -m 0755 /etc/systemd/journald.conf.d
    write_once 0644 root:root /etc/systemd/journald.conf.d/towntwin.conf <<'CONF'
[Journal]
Storage=persistent
SystemMaxUse=1G
MaxRetentionSec=3month
CONF
    if has_systemd; then run systemctl daemon-reload; fi
    # shellcheck disable=SC2046 # a list of units
    run systemctl --quiet enable towntwin.target $(units) $(timers)
    # shellcheck disable=SC2046 # a list of units
    service restart $(units)
    # shellcheck disable=SC2046 # a list of timers
    service start towntwin.target $(timers)
    service try-restart towntwin-edge.service
}

# Patterns match what runs, and nothing where nothing does. An edge agent is no part of the platform: it goes on.
stop_platform() {
    if has_systemd; then
        run systemctl stop 'towntwin*.target' 'towntwin-ingest*' 'towntwin-service*' 'towntwin-gateway*' 'towntwin-access*' 'towntwin-hj212*' 'towntwin-federate-send*' 'towntwin-federate-receive*'
    else
        service stop 'towntwin*'
    fi
}

# -- uninstallation -----------------------------------------------------------------------------------------------

uninstall() {
    step "stop and remove the units"
    stop_platform
    if has_systemd; then run systemctl stop 'towntwin-*.timer' 'towntwin-edge*' 'towntwin-federate*' 'towntwin-backup*' 'towntwin-certificates*'; fi
    for unit in deploy/systemd/*.service deploy/systemd/*.timer deploy/systemd/towntwin.target; do
        unit=$(basename "$unit")
        [ -e "$UNITS/$unit" ] || continue
        run systemctl --quiet disable "$unit" 2>/dev/null || :
        run rm -f "$UNITS/$unit"
    done
    run rm -f "$UNITS"/towntwin.target.wants/towntwin-* "$UNITS/mosquitto.service.d/towntwin.conf"
    if has_systemd; then run systemctl daemon-reload; fi
    step "remove the programs"
    run rm -rf $OPT /usr/local/sbin/towntwin
    run rm -f /etc/mosquitto/conf.d/towntwin.conf
    service restart mosquitto.service
    # A slot that no backup empties keeps the server's log.
    start_postgres start
    echo "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'towntwin_backup';" | psql_admin
    if ! $purge; then
        echo "kept: the database $DATABASE, $ETC, /var/lib/mosquitto, the users. --purge-data deletes them."
        return
    fi
    step "delete the data"
    start_postgres start
    {
        echo "DROP DATABASE IF EXISTS $DATABASE WITH (FORCE);"
        for account in $ACCOUNTS; do echo "DROP ROLE IF EXISTS \"towntwin-${account%%:*}\";"; done
        for role in towntwin_ingest towntwin_analytics towntwin_gateway towntwin_grafana towntwin_access; do echo "DROP ROLE IF EXISTS $role;"; done
        echo "DROP ROLE IF EXISTS \"$OWNER\";"
    } | psql_admin
    run rm -f /etc/postgresql/17/main/conf.d/towntwin.conf
    run rm -rf $ETC /var/lib/towntwin-admin /var/lib/towntwin-hj212 /var/lib/towntwin-federate-send /var/cache/towntwin-* /var/lib/mosquitto/dynamic-security.json
    run rm -f /etc/systemd/journald.conf.d/towntwin.conf
    for account in $ACCOUNTS admin:; do
        id "towntwin-${account%%:*}" >/dev/null 2>&1 && run userdel "towntwin-${account%%:*}"
    done
    # The edge agent's user stays while it has a spool here.
    if id towntwin >/dev/null 2>&1 && [ ! -d /var/lib/towntwin ]; then run userdel towntwin; fi
    start_postgres restart
}

# -- main ---------------------------------------------------------------------------------------------------------

check_machine
changed=""
if [ $action = uninstall ]; then
    uninstall
    exit 0
fi
if [ $action = upgrade ] && ! [ -e $OPT/bin/towntwin ] && ! $dry_run; then
    fail "there is no towntwin in $OPT to upgrade: run it without --upgrade"
fi
install_packages
make_users
make_folders
install_programs
make_secrets
configure_postgres
if [ $action = upgrade ]; then
    step "stop the processes for the migration; devices keep their readings"
    stop_platform
fi
migrate_database
switch_programs
configure_mosquitto
write_environments
configure_backup
install_units
step "done"
echo "next: sudo towntwin setup"
