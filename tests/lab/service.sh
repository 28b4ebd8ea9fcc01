# What the service must stand, whichever package brought it; read by `run`.
#
# Order: restarts and upgrades under load, accidents, sockets of systemd, logs, a reboot, io_uring
# that is forbidden.
#
# Invariant: a step takes its drop-in files away again.

drop_ins=/etc/systemd/system/otus-httpd.service.d

# drop_in NAME - standard input as a drop-in of the unit
drop_in() {
    write "$drop_ins/$1.conf"
    inside systemctl daemon-reload
}

remove_drop_in() {
    rm -f "$lab_root$drop_ins/$1.conf"
    rmdir "$lab_root$drop_ins" 2>/dev/null || true
    inside systemctl daemon-reload
}

# mend - what a failed step has left is taken away, so that the next one is judged by itself
mend() {
    end_left_load
    [ -n "$(boot pid)" ] || return 0
    rm -rf "$lab_root$drop_ins" "$lab_root/etc/otus-httpd.conf.d/workers.conf" "$lab_root/etc/otus-httpd.conf.d/zz-wrong.conf"
    inside systemctl daemon-reload
    inside systemctl cat otus-httpd || return 0
    end_https
    inside systemctl is-active otus-httpd.socket && inside systemctl stop otus-httpd.socket otus-httpd.service
    inside systemctl reset-failed otus-httpd
    inside systemctl start otus-httpd
}

# restarts NUMBER
restarts() {
    local pid number
    start_load
    for number in $(seq "$1"); do
        pid=$(main_pid)
        inside systemctl restart otus-httpd
        another_main_pid "$pid"
    done
    end_load "$((100 * $1))"
    serving
    alone "$(main_pid)"
    same "restarts by systemd" 0 "$(property NRestarts)"
}

restarts_with_other_workers() {
    local number
    start_load
    for number in 1 3 2 4 1; do
        echo "workers = $number" | write /etc/otus-httpd.conf.d/workers.conf
        inside systemctl restart otus-httpd
        sleep 0.3
        has "threads" "with $number worker" "$(property StatusText)"
    done
    rm "$lab_root/etc/otus-httpd.conf.d/workers.conf"
    inside systemctl restart otus-httpd
    sleep 0.5
    end_load
    serving
}

# stays_with_old COMMAND... - installs a version that cannot start, under load; the old one serves on. Sets said to what the
# command said.
stays_with_old() {
    local pid
    pid=$(main_pid)
    start_load
    said=$("$@") || { echo "$said"; return 1; }
    echo "$said"
    sleep 1
    end_load
    same "main process" "$pid" "$(main_pid)"
    alone "$pid"
    serving
}

# A transfer that has begun is finished for as long as drain_timeout allows, and newcomers are served.
restart_during_download() {
    local pid download
    pid=$(main_pid)
    start_download 150
    start_load
    inside systemctl restart otus-httpd
    another_main_pid "$pid"
    sleep 0.5
    end_load
    end_download
    serving
}

control_upgrade() {
    local pid number
    start_load
    for number in 3 1 2; do
        pid=$(main_pid)
        echo "workers = $number" | write /etc/otus-httpd.conf.d/workers.conf
        inside otus-httpdctl upgrade
        another_main_pid "$pid"
        sleep 0.3
        has "threads" "with $number worker" "$(property StatusText)"
    done
    rm "$lab_root/etc/otus-httpd.conf.d/workers.conf"
    # The queues of sockets must outlive an upgrade followed by a restart, too.
    inside systemctl restart otus-httpd
    sleep 0.5
    end_load
    soon 5 alone "$(main_pid)"
    serving
}

crash() {
    local pid began
    pid=$(main_pid)
    inside kill -9 "$pid"
    began=$(date +%s%N)
    soon 5 another_main_pid "$pid"
    soon 5 serving
    figure "serving again after $((($(date +%s%N) - began) / 1000000)) ms"
    same "restarts by systemd" 1 "$(property NRestarts)"
    inside systemctl reset-failed otus-httpd
}

watchdog() {
    local pid began limit
    drop_in watchdog <<<$'[Service]\nWatchdogSec=2s'
    inside systemctl restart otus-httpd
    pid=$(main_pid)
    # It must be alive for longer than the limit: it is pinged.
    sleep 3
    same "main process" "$pid" "$(main_pid)"
    mark_journal
    inside kill -STOP "$pid"
    began=$(date +%s%N)
    # The time of the watchdog, that of SIGABRT, which a stopped process does not take, and a start.
    limit=$((2 + 5 + 2))
    soon "$limit" another_main_pid "$pid"
    soon 2 serving
    figure "serving again after $((($(date +%s%N) - began) / 1000000)) ms"
    journal_has '[Ww]atchdog timeout'
    remove_drop_in watchdog
    inside systemctl reset-failed otus-httpd
    inside systemctl restart otus-httpd
}

socket_activation() {
    local began
    inside systemctl stop otus-httpd
    no_process
    inside systemctl start otus-httpd.socket
    refuses inside systemctl -q is-active otus-httpd
    began=$(date +%s%N)
    serves
    figure "first answer after $((($(date +%s%N) - began) / 1000000)) ms"
    is_active
    same "by IPv6 it answers" 200 "$(inside curl -sS -o /dev/null -w '%{http_code}' 'http://[::1]/')"
    mark_journal
    start_load
    inside systemctl restart otus-httpd
    inside otus-httpdctl upgrade
    sleep 0.5
    end_load
    hasnt "journal" 'warn|error' "$(journal)"
    # Stopped, it is started again by the next request: systemd has kept the sockets.
    inside systemctl stop otus-httpd 2>&1
    serves
    inside systemctl stop otus-httpd.socket otus-httpd.service
    inside systemctl start otus-httpd
    serving
}

socket_without_capability() {
    local example
    example=$(inside find /usr/share/doc/otus-httpd -name 'socket-activation.conf*' | head -n 1)
    [ -n "$example" ]
    inside systemctl stop otus-httpd
    drop_in no-capability <"$lab_root$example"
    inside systemctl start otus-httpd.socket
    serves
    has "effective capabilities" '^CapEff:[[:space:]]+0+$' "$(inside cat "/proc/$(main_pid)/status")"
    exposure 12
    start_load
    inside systemctl restart otus-httpd
    inside otus-httpdctl upgrade
    sleep 0.5
    end_load
    inside systemctl stop otus-httpd.socket otus-httpd.service
    remove_drop_in no-capability
    inside systemctl start otus-httpd
    serving
}

# lines_are NUMBER - of the load, in all files together
lines_are() { same "lines" "$1" "$(inside sh -c 'zcat -f /var/log/otus-httpd/access.log* | grep -cF "index.html?rotation "')"; }

log_rotation() {
    start_load '?rotation'
    inside logrotate -f /etc/logrotate.d/otus-httpd
    sleep 1
    inside logrotate -f /etc/logrotate.d/otus-httpd
    sleep 1
    end_load 100
    inside test -s /var/log/otus-httpd/access.log
    inside test -s /var/log/otus-httpd/access.log.1
    inside test -s /var/log/otus-httpd/access.log.2.gz
    same "the new file" "otus-httpd adm 640" "$(inside stat -c '%U %G %a' /var/log/otus-httpd/access.log)"
    soon 5 lines_are "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["answered"])' "$work/load.json")"
    serving
}

reboot_system() {
    boot reboot
    soon 5 serving
    answers_header two
}

# forbid ERROR - the kernel denies io_uring to the service
forbid() { drop_in forbidden <<<$'[Service]\nSystemCallFilter=~io_uring_setup io_uring_enter io_uring_register\nSystemCallErrorNumber='"$1"; }

allow_again() {
    remove_drop_in forbidden
    inside systemctl reset-failed otus-httpd 2>/dev/null || true
}

# forbidden ERROR
forbidden() {
    local said
    forbid "$1"
    mark_journal
    refuses inside systemctl restart otus-httpd
    # Time enough for a restart by systemd, which would say the same again.
    sleep 1
    same "state" failed "$(inside systemctl is-failed otus-httpd || true)"
    same "restarts by systemd" 0 "$(property NRestarts)"
    said=$(journal)
    echo "$said"
    count "journal" 1 'io_uring is not' "$said"
    hasnt "journal" 'panic' "$said"
    figure "$(grep -m 1 "io_uring is not" <<<"$said" | cut -c1-160)"
    allow_again
    inside systemctl start otus-httpd
    serving
}
