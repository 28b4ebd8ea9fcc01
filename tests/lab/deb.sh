# The Debian package on one booted system, from its installation to its purge; read by `run`.
#
# Order: as an administrator meets it: installation, configuration, restarts, upgrades, accidents,
# sockets, logs, reboot, what the unit may do, refusals, removal; then installations that find
# something in their way.
#
# Invariant: a step leaves the service as it found it, running on the packages' configuration plus
# /etc/otus-httpd.conf.d/lab.conf.

debs=
big_document_mebibytes=1024

deb_scenario() {
    debs=$work/debs
    begin "deb, $suite"
    step "the system boots" boot_afresh
    step "apt installs the file, and it is enabled, active and serving" deb_install
    # Everything else is about a server that runs.
    [ "$last_status" = 0 ] || return
    step "it runs as its own user with one capability" deb_identity
    step "the configuration is found good, systemd-analyze verify is silent" deb_checks
    step "the exposure is at most 1.5" exposure 15
    step "AppArmor's parser takes the profile" deb_apparmor
    step "an edited configuration holds after a reload, in the same process" reload_good
    step "a wrong configuration is refused, and the old one serves on" reload_bad
    step "HTTPS with the documented sample and the certificate of ssl-cert" https_sample
    step "a renewed certificate takes effect by itself" https_renewal
    step "a restart and an upgrade under a load of HTTPS" https_upgrade
    step "a key for root alone, as a credential of the unit" https_credential
    step "HTTPS by socket activation without any capability" https_sockets
    step "20 restarts under load" restarts 20
    step "restarts with another number of workers under load" restarts_with_other_workers
    step "a restart during a long download" restart_during_download
    step "upgrade under load, with a long download" deb_upgrade
    step "a version that does not start leaves the old one serving" deb_broken_version
    step "a configuration that the new version cannot read leaves the old one serving" deb_unreadable
    step "upgrade by otus-httpdctl with another number of workers" control_upgrade
    step "a crash is mended" crash
    step "a stopped process is found by the watchdog" watchdog
    step "socket activation: the first request starts the service" socket_activation
    step "socket activation without any capability" socket_without_capability
    step "logrotate: the new file gets the lines, and none is lost" log_rotation
    step "reboot: it serves, changes are kept" reboot_system
    step "io_uring forbidden, EPERM: one clear line" forbidden EPERM
    step "io_uring forbidden, ENOSYS: one clear line" forbidden ENOSYS
    step "installed a second time" deb_again
    step "remove stops it, purge leaves nothing" deb_purge
    step "installed while another server has the port" deb_busy_port
    step "installed where io_uring is forbidden" deb_forbidden
}

boot_afresh() {
    boot reset
    figure "systemd $(inside systemctl --version | awk 'NR == 1 { print $2 }')"
    files_of_system >"$work/files-before"
    mkdir -p "$lab_root/srv/packages"
    cp "$debs"/*.deb "$lab_root/srv/packages/"
}

# What a purged package may leave: dpkg's and apt's notes, accounts, journals, what the lab brought.
files_of_system() {
    inside find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /srv \
        -o -path /var/tmp -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log/apt \
        -o -path /var/log/journal -o -path /var/lib/systemd -o -path /root \) -prune -o \
        -printf '%p\n' | grep -vE '^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|^/etc/\.pwd\.lock$|^/var/log/(dpkg|alternatives)\.log$|^/var/lib/logrotate/status$|^/(etc/)?resolv' | sort
}

# install NUMBER [OPTIONS...] - apt with one of the packages; prints what it said, and fails as it does
install() {
    inside apt-get install -y "${@:2}" "/srv/packages/$1.deb" 2>&1 </dev/null
}

deb_install() {
    local said done_at
    said=$(install 1) || { echo "$said"; return 1; }
    echo "$said"
    done_at=$(date +%s%N)
    soon 2 serving
    figure "served $((($(date +%s%N) - done_at) / 1000000)) ms after apt's end"
    hasnt "what apt said" '[Ww]arning|[Ee]rror|[Ff]ailed|cannot' "$said"
    same "is-enabled" enabled "$(inside systemctl is-enabled otus-httpd)"
    same "is-enabled of the socket" disabled "$(inside systemctl is-enabled otus-httpd.socket || true)"
    same "restarts" 0 "$(property NRestarts)"
    has "welcome page" otus-httpd "$(fetch /)"
    # The big document and the index are written once; they are what the load asks for.
    big_document
}

# Each mebibyte has a number at its head, so that no two are the same and an exchange is found.
big_document() {
    python3 - "$lab_root/var/www/html/big.bin" "$big_document_mebibytes" >"$work/big.sha256" <<'END'
import hashlib, os, sys
block, digest = os.urandom(1 << 20), hashlib.sha256()
with open(sys.argv[1], "wb") as file:
    for number in range(int(sys.argv[2])):
        part = number.to_bytes(8, "big") + block[8:]
        digest.update(part)
        file.write(part)
print(digest.hexdigest())
END
}

deb_identity() {
    local status
    status=$(inside cat "/proc/$(main_pid)/status")
    grep -E '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp):' <<<"$status"
    same "user" otus-httpd "$(inside stat -c %U "/proc/$(main_pid)")"
    has "no root" '^Uid:[[:space:]]+[1-9]' "$status"
    # Bit 10 is CAP_NET_BIND_SERVICE.
    has "effective capabilities" '^CapEff:[[:space:]]+0000000000000400$' "$status"
    has "bounding set" '^CapBnd:[[:space:]]+0000000000000400$' "$status"
    has "no new privileges" '^NoNewPrivs:[[:space:]]+1$' "$status"
    has "system calls are filtered" '^Seccomp:[[:space:]]+2$' "$status"
    has "listens by IPv4" '0\.0\.0\.0:80 |\*:80 ' "$(inside ss -ltnH)"
    has "listens by IPv6" '\[::\]:80 |\*:80 ' "$(inside ss -ltnH)"
    same "by IPv6 it answers" 200 "$(inside curl -sS -o /dev/null -w '%{http_code}' 'http://[::1]/')"
    same "logs" "otus-httpd adm 2750" "$(inside stat -c '%U %G %a' /var/log/otus-httpd)"
    has "the state in a line" 'serving' "$(property StatusText)"
}

deb_checks() {
    inside otus-httpd --reload-check
    same "systemd-analyze verify" "" "$(inside systemd-analyze verify --man=no otus-httpd.service otus-httpd.socket 2>&1)"
    inside otus-httpdctl status
    inside sh -c 'cd /usr/share/man && find . -name "otus-httpd*" | grep -q otus-httpd.8'
}

# exposure LIMIT_IN_TENTHS
exposure() {
    local said
    said=$(inside systemd-analyze security --no-pager "--threshold=$1" otus-httpd.service) || { tail -n 3 <<<"$said"; return 1; }
    figure "$(tail -n 1 <<<"$said" | grep -oE '[0-9]+\.[0-9]+ [A-Z]+')"
}

deb_apparmor() {
    local profile
    for profile in $(inside find /etc/apparmor.d /usr/share/apparmor -name '*otus-httpd*' -type f 2>/dev/null); do
        echo "$profile"
        inside apparmor_parser -Q -K "$profile"
    done
    [ -n "${profile:-}" ]
}

# own_header VALUE - a configuration that is told by its answers
own_header() { echo "headers = { set = { X-Lab = \"$1\" } }" | write /etc/otus-httpd.conf.d/lab.conf; }
answers_header() { has "header" "^X-Lab: $1" "$(fetch / -I)"; }

reload_good() {
    local pid
    pid=$(main_pid)
    own_header one
    inside systemctl reload otus-httpd
    soon 2 answers_header one
    same "main process" "$pid" "$(main_pid)"
    own_header two
    inside otus-httpdctl reload
    soon 2 answers_header two
    same "main process" "$pid" "$(main_pid)"
    # The file of the package, not only one beside it.
    set_key keepalive_timeout 66
    inside systemctl reload otus-httpd
    same "main process" "$pid" "$(main_pid)"
    serving
}

reload_bad() {
    local pid
    pid=$(main_pid)
    mark_journal
    echo 'no_such_key = 1' | write /etc/otus-httpd.conf.d/zz-wrong.conf
    inside systemctl reload otus-httpd || true
    soon 2 journal_has 'nothing has changed, the reload is refused'
    journal_has 'no_such_key'
    refuses inside otus-httpdctl reload
    answers_header two
    same "main process" "$pid" "$(main_pid)"
    is_active
    rm "$lab_root/etc/otus-httpd.conf.d/zz-wrong.conf"
    inside systemctl reload otus-httpd
    serving
}

journal_has() { has "journal" "$1" "$(journal)"; }

deb_upgrade() {
    local pid said download
    pid=$(main_pid)
    # What an administrator has changed must be there after the upgrade.
    echo '# edited by the administrator' >>"$lab_root/etc/otus-httpd.conf"
    start_load
    start_download 100
    said=$(install 2 -o Dpkg::Options::=--force-confold) || { echo "$said"; return 1; }
    echo "$said"
    soon 5 another_main_pid "$pid"
    is_active
    # The old process is there for as long as the download is.
    inside test -d "/proc/$pid"
    sleep 1
    end_load
    end_download
    soon 5 alone "$(main_pid)"
    same "program" /usr/sbin/otus-httpd "$(inside readlink "/proc/$(main_pid)/exe")"
    same "version" 0.1.1-1 "$(inside dpkg-query -W -f '${Version}' otus-httpd)"
    has "edited configuration" '^# edited by the administrator$' "$(inside cat /etc/otus-httpd.conf)"
    has "the package's configuration beside it" '^# This line came with a new version' "$(inside cat /etc/otus-httpd.conf.dpkg-dist)"
    answers_header two
    serving
}

deb_broken_version() {
    local said
    stays_with_old install 3
    count "what apt said of it" 1 '^otus-httpd:' "$said"
}

deb_unreadable() {
    local pid said
    pid=$(main_pid)
    echo 'no_such_key = 1' | write /etc/otus-httpd.conf.d/zz-wrong.conf
    said=$(install 4) || { echo "$said"; return 1; }
    echo "$said"
    same "main process" "$pid" "$(main_pid)"
    alone "$pid"
    serving
    has "what apt said of it" '^otus-httpd:.*' "$said"
    rm "$lab_root/etc/otus-httpd.conf.d/zz-wrong.conf"
    inside otus-httpdctl upgrade
    another_main_pid "$pid"
    soon 5 alone "$(main_pid)"
    serving
}

deb_again() {
    local pid said
    pid=$(main_pid)
    said=$(install 4 --reinstall) || { echo "$said"; return 1; }
    echo "$said"
    hasnt "what apt said" '[Ww]arning|[Ee]rror|[Ff]ailed' "$said"
    soon 2 serving
    soon 5 alone "$(main_pid)"
    # The scripts may run twice, for example after an interruption.
    inside dpkg-reconfigure -fnoninteractive otus-httpd || inside sh /var/lib/dpkg/info/otus-httpd.postinst configure 0.1.3-1
    soon 2 serving
}

deb_purge() {
    local left
    inside apt-get remove -y otus-httpd 2>&1
    refuses inside systemctl is-active otus-httpd
    no_process
    inside test -e /etc/otus-httpd.conf
    rm -f "$lab_root/var/www/html/big.bin"
    inside apt-get purge -y otus-httpd 2>&1
    files_of_system >"$work/files-after"
    left=$(comm -13 "$work/files-before" "$work/files-after")
    same "files left behind" "" "$left"
    same "files gone" "" "$(comm -23 "$work/files-before" "$work/files-after")"
    refuses inside systemctl cat otus-httpd
}

deb_busy_port() {
    local said other
    nsenter -t "$(boot pid)" -n timeout 60 python3 -c '
import socket, time
held = [socket.create_server(("0.0.0.0", 80)), socket.create_server(("::", 80), family=socket.AF_INET6)]
time.sleep(60)' &
    other=$!
    soon 5 inside sh -c 'ss -ltnH | grep -q :80'
    # Whatever becomes of the installation, the other server must end.
    said=$(install 4) || said+=$'\napt failed'
    kill "$other"
    wait "$other" || true
    echo "$said"
    hasnt "what apt said" '^apt failed' "$said"
    count "what apt said of it" 1 '^otus-httpd:.*80' "$said"
    same "is-enabled" enabled "$(inside systemctl is-enabled otus-httpd)"
    inside systemctl start otus-httpd
    serving
    inside apt-get purge -y otus-httpd 2>&1
}

deb_forbidden() {
    local said
    forbid EPERM
    said=$(install 4) || { echo "$said"; return 1; }
    echo "$said"
    has "what apt said of it" '^otus-httpd:.*' "$said"
    allow_again
    inside systemctl start otus-httpd
    serving
    inside apt-get purge -y otus-httpd 2>&1
}
