# What the scenarios of the lab share; read by `run`, not started by itself.
#
# Order: steps and their words, commands inside the booted system, the journal, the load.
#
# Invariant: a step runs in a shell of its own with `set -e`, so that its first false line fails it;
# the steps after it run all the same.

scenario=none
passed=0 failed=0 last_status=0

# begin NAME - the scenario that the next steps belong to
begin() {
    scenario=$1
    printf '%s\n' "-- $scenario"
}

# step NAME FUNCTION [ARGUMENTS...] - runs one step and tells its time; must stand alone on its line,
# for a shell ignores `set -e` in what is a condition
step() {
    local name=$1 log=$work/step.log began status figure
    shift
    began=$(date +%s%N)
    : >"$work/figure"
    (
        set -eE
        trap 'echo "line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND" >&2' ERR
        "$@"
    ) >"$log" 2>&1 </dev/null
    status=$?
    last_status=$status
    figure=$(paste -sd ';' "$work/figure" | sed 's/;/; /g')
    figure=${figure:+; $figure}
    if [ "$status" = 0 ]; then
        passed=$((passed + 1))
        printf 'ok      %s: %s (%s%s)\n' "$scenario" "$name" "$(seconds_since "$began")" "$figure"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s: %s (%s%s)\n' "$scenario" "$name" "$(seconds_since "$began")" "$figure"
        tail -n 25 "$log" | cut -c1-400 | sed 's/^/    /'
        [ -z "$lab_root" ] || mend >/dev/null 2>&1
        cp "$log" "$kept_logs/${scenario// /-}-${name//[^A-Za-z0-9]/-}.log"
    fi
}

seconds_since() {
    local thousandths=$((($(date +%s%N) - $1) / 1000000))
    printf '%d.%02d s' $((thousandths / 1000)) $((thousandths % 1000 / 10))
}

# figure TEXT - what the step measured; told on its line
figure() { echo "$1" >>"$work/figure"; }

# same WHAT EXPECTED ACTUAL
same() {
    [ "$2" = "$3" ] || {
        echo "$1: expected '$2', found '$3'"
        return 1
    }
}

# has WHAT PATTERN TEXT - an extended regular expression that some line of the text must match
has() {
    grep -qE -- "$2" <<<"$3" || {
        printf '%s: no line matches /%s/ in:\n%s\n' "$1" "$2" "$3"
        return 1
    }
}

# hasnt WHAT PATTERN TEXT
hasnt() {
    ! grep -E -- "$2" <<<"$3" || {
        echo "$1: the lines above match /$2/"
        return 1
    }
}

# count WHAT NUMBER PATTERN TEXT - so many lines match
count() {
    local found
    found=$(grep -cE -- "$3" <<<"$4" || true)
    [ "$found" = "$2" ] || {
        printf '%s: %s lines match /%s/, not %s, in:\n%s\n' "$1" "$found" "$3" "$2" "$4"
        return 1
    }
}

# soon SECONDS COMMAND... - tries the command until it succeeds
soon() {
    local until=$(($(date +%s%N) + $1 * 1000000000)) limit=$1
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s%N)" -lt "$until" ] || {
            echo "not within $limit s: $*"
            "$@" || true
            return 1
        }
        sleep 0.05
    done
}

# refuses COMMAND... - the command must fail
refuses() {
    if "$@"; then
        echo "succeeded, and should not: $*"
        return 1
    fi
}

boot() { "$here/boot" "$@"; }
# inside COMMAND... - as root in the booted system
inside() { "$here/boot" run "$@"; }
# write PATH - standard input into a file of the booted system; a file that is there keeps its owner and mode
write() { mkdir -p "$(dirname "$lab_root$1")" && cat >"$lab_root$1"; }

fetch() { inside curl -sS --max-time 10 "http://localhost${1:-/}" "${@:2}"; }
status_of() { fetch "$1" -o /dev/null -w '%{http_code}'; }
property() { inside systemctl show -P "$1" "${2:-otus-httpd.service}"; }
# main_pid - of the service, which must have one: kill takes 0 for its own group
main_pid() {
    local pid
    pid=$(property MainPID)
    [ "${pid:-0}" -gt 1 ] || {
        echo "the service has no process" >&2
        return 1
    }
    echo "$pid"
}
is_active() { same "state of ${1:-the service}" active "$(inside systemctl is-active "${1:-otus-httpd}" || true)"; }
serves() { same "the answer" 200 "$(status_of /)"; }
serving() { is_active && serves; }
# another_main_pid OLD - the service runs, by another process
another_main_pid() {
    local pid
    pid=$(main_pid) && [ "$pid" != "$1" ]
}
# alone PID - no other process of the server than this one
alone() { same "processes" "$1" "$(inside pgrep -x otus-httpd | tr '\n' ' ' | sed 's/ $//')"; }
no_process() { ! inside pgrep -x otus-httpd; }

# mark_journal, journal - the lines of the unit since the mark
mark_journal() { inside journalctl -n 0 --show-cursor -o cat --no-pager | sed -n 's/^-- cursor: //p' >"$work/cursor"; }
journal() {
    inside journalctl --sync
    inside journalctl -u otus-httpd.service -o cat --no-pager --after-cursor "$(cat "$work/cursor")"
}

# set_key KEY VALUE - in the configuration file, whether the key stands there or is commented
set_key() {
    local file=$lab_root/etc/otus-httpd.conf
    if grep -qE "^#?$1 = " "$file"; then
        sed -i -E "0,/^#?$1 = .*/s||$1 = $2|" "$file"
    else
        # Keys behind the first table would belong to it.
        sed -i "1i $1 = $2" "$file"
    fi
}

# load COMMAND... - tests/lab/load.py in the network of the booted system
load() { nsenter -t "$(boot pid)" -n python3 "$here/load.py" "$@"; }

# start_load [QUERY [SCHEME]] - fifty connections, of which nothing may be lost until end_load
start_load() {
    local report=$work/load.json
    rm -f "$report"
    nsenter -t "$(boot pid)" -n python3 "$here/load.py" requests --seconds 240 --report "$report" \
        "${2:-http}://127.0.0.1/index.html${1:-}" "$lab_root/var/www/html/index.html" >"$work/load.out" 2>&1 &
    echo $! >"$work/load.pid"
    sleep 1
    kill -0 $! || {
        cat "$work/load.out"
        return 1
    }
}

# The longest wait that is asked for is one second. A machine that does other things besides takes part in
# it, so the step fails only where more than that must have gone wrong; the figure is told in any case.
wait_ms_max=3000

# end_load [ANSWERS_MIN]
end_load() {
    local pid
    pid=$(cat "$work/load.pid")
    rm -f "$work/load.pid"
    kill -TERM "$pid"
    wait "$pid" || true
    cat "$work/load.out"
    python3 - "$work/load.json" "${1:-200}" "$wait_ms_max" "$work/figure" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
with open(sys.argv[4], "a") as figure:
    print("{answered} answers, {failed} failed, longest wait {longest_wait_ms} ms, of which to connect {longest_connect_ms} ms".format(**report), file=figure)
lost = report["failed"] != 0 or report["answered"] < int(sys.argv[2])
sys.exit(lost or report["longest_wait_ms"] > int(sys.argv[3]))
END
}

# start_download RATE_MEBIBYTES - the big document, by a reader that slow; comes back once it has begun
start_download() {
    rm -f "$work/begun"
    load download --rate "$1" --begun "$work/begun" http://127.0.0.1/big.bin "$(cat "$work/big.sha256")" >"$work/download.out" 2>&1 &
    download=$!
    soon 20 test -e "$work/begun"
}

# end_download - it must have come whole
end_download() {
    wait "$download" || {
        cat "$work/download.out"
        return 1
    }
    figure "$(python3 -c 'import json,sys; r = json.load(open(sys.argv[1])); print("download of", r["received"], "octets in", r["seconds"], "s")' "$work/download.out")"
}

# end_left_load - ends a load that a failed step has left
end_left_load() {
    local pid
    [ -e "$work/load.pid" ] || return 0
    pid=$(cat "$work/load.pid")
    rm -f "$work/load.pid"
    ! grep -qs load.py "/proc/$pid/cmdline" || kill "$pid" 2>/dev/null || true
}
