# Debian 13 builds the server from source with its own cargo, without a network; read by `run`.
#
# Order: the system with cargo; the source, as it is published where there is such a file; the build;
# one request to what was built.
#
# Invariant: what is built comes from the source and from the crates that Cargo.lock names. These
# the machine has fetched before, and the system reads them without being able to change them.

source_scenario() {
    local registry=${CARGO_HOME:-$HOME/.cargo}/registry kept
    if [ ! -d "$registry/cache" ]; then
        skip "source: this machine's cargo has fetched no crates, and the lab has no network"
        return
    fi
    # What was built of the same crates before is kept, for a build takes minutes.
    kept=$OTUS_HTTPD_LAB/built-$(sha256sum <"$project/Cargo.lock" | cut -c1-12)
    find "$OTUS_HTTPD_LAB" -maxdepth 1 -name 'built-*' ! -path "$kept" -exec rm -rf {} +
    mkdir -p "$kept"
    export LAB_SUITE=trixie LAB_EXTRA="cargo gcc libc6-dev git" LAB_BIND="$registry:/root/.cargo/registry" LAB_KEEP="$kept:/srv/built"
    begin "source, $LAB_SUITE"
    step "the system boots, with its own cargo" source_boot
    [ "$last_status" != 0 ] || step "cargo builds" source_build
    [ "$last_status" != 0 ] || step "what was built serves" source_serves
    export LAB_BIND= LAB_KEEP=
}

source_boot() {
    local published
    boot reset
    figure "$(inside cargo --version)"
    mkdir -p "$lab_root/srv/source"
    published=$(only_package 'otus-httpd-*.tar.xz' "source archives")
    if [ -n "$published" ]; then
        tar -C "$lab_root/srv/source" --strip-components=1 -xf "$published"
    else
        git -C "$project" archive HEAD | tar -C "$lab_root/srv/source" -xf -
    fi
}

source_build() {
    # Read-only crates cannot take the lock of cargo, which lies beside them and not in them.
    inside nice -n 10 env CARGO_TARGET_DIR=/srv/built CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 \
        sh -c 'cd /srv/source && cargo build --locked --offline --bin otus-httpd' 2>&1
    has "version" '^otus-httpd [0-9]' "$(inside /srv/built/debug/otus-httpd --version)"
}

source_serves() {
    inside mkdir -p /srv/www
    echo "built from source" | write /srv/www/index.html
    inside systemd-run -q --unit=built /srv/built/debug/otus-httpd -c /dev/null -a 127.0.0.1 -p 8080 -r /srv/www --user=root
    soon 5 inside curl -sS -o /dev/null http://127.0.0.1:8080/
    same "the answer" "built from source" "$(inside curl -sS http://127.0.0.1:8080/)"
    inside systemctl stop built
}
