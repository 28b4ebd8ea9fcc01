# The repositories that packaging/repo makes, used by name as users do; and piuparts. Read by `run`.
#
# Order: keys; apt: installation, upgrade, a wrong key; dnf: installation, upgrade, a package that
# was changed after it was signed.
#
# Invariant: keys are made for the run and end with it; nothing is served but inside the lab.

need_repository_tools() {
    local pair
    for pair in apt-ftparchive:apt-utils gpg:gpg rpm:rpm rpmsign:rpm createrepo_c:createrepo-c; do
        command -v "${pair%:*}" >/dev/null || {
            skip "repositories: the Debian package ${pair#*:} is missing"
            return 1
        }
    done
}

# make_key NAME - prints its fingerprint
make_key() {
    gpg --batch --quiet --passphrase '' --quick-gen-key "$1 <$1@example.org>" rsa3072 sign never 2>/dev/null
    gpg --batch --with-colons --list-keys "$1@example.org" | awk -F: '$1 == "fpr" { print $10; exit }'
}

make_keys() {
    [ ! -d "$GNUPGHOME" ] || return 0
    mkdir -m 700 "$GNUPGHOME"
    make_key publisher >"$work/publisher"
    make_key stranger >"$work/stranger"
}

end_keys() {
    [ ! -d "$work/gnupg" ] || GNUPGHOME=$work/gnupg gpgconf --kill gpg-agent
}

repository_url=http://127.0.0.1:8000

# publish KEY_NAME PACKAGES... - adds them to the repository
publish() { "$project/packaging/repo" "$work/repository" --key "$(cat "$work/$1")" --url "$repository_url" "${@:2}"; }

serve_repository() {
    # Bounded, should a run be killed: the process is the machine's.
    nsenter -t "$(boot pid)" -n timeout 300 python3 -m http.server --bind 127.0.0.1 --directory "$work/repository" 8000 \
        >"$work/repository.log" 2>&1 9>&- &
    echo $! >"$work/repository.pid"
    soon 5 inside curl -sSf -o /dev/null "$repository_url/otus-httpd.asc"
}

end_repository() {
    [ ! -e "$work/repository.pid" ] || kill "$(cat "$work/repository.pid")"
    rm -rf "$work/repository.pid" "$work/repository"
}

apt_scenario() {
    need_repository_tools || return
    export GNUPGHOME=$work/gnupg
    begin "apt repository, $suite"
    step "the system boots, and a repository is made and signed" apt_repository
    [ "$last_status" != 0 ] || step "a source without the key is refused" apt_wrong_key
    [ "$last_status" != 0 ] || step "apt install otus-httpd, and it serves" apt_install
    [ "$last_status" != 0 ] || step "a new version is published, and apt upgrades to it" apt_upgrade
    end_repository
}

# The names by which packages are published are those that dpkg-name would give them.
apt_repository() {
    boot reset
    make_keys
    mkdir -p "$work/published"
    cp "$work/debs/1.deb" "$work/published/otus-httpd_0.1.0-1_amd64.deb"
    cp "$work/debs/4.deb" "$work/published/otus-httpd_0.1.3-1_amd64.deb"
    publish publisher "$work/published/otus-httpd_0.1.0-1_amd64.deb"
    serve_repository
    inside curl -sSf -o /etc/apt/sources.list.d/otus-httpd.sources "$repository_url/otus-httpd.sources"
}

# Only this source is fetched: the lab reaches no other.
update() {
    inside apt-get update -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/otus-httpd.sources -o Dir::Etc::sourceparts=- \
        -o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any 2>&1
}

apt_wrong_key() {
    local keyring=$lab_root/usr/share/keyrings/otus-httpd-archive-keyring.gpg said
    gpg --batch --export "$(cat "$work/stranger")" >"$keyring"
    said=$(update) && {
        echo "$said"
        return 1
    }
    has "what apt said" 'NO_PUBKEY|[Mm]issing key|not signed' "$said"
    refuses inside apt-get install -y otus-httpd
}

apt_install() {
    inside curl -sSf -o /usr/share/keyrings/otus-httpd-archive-keyring.gpg "$repository_url/otus-httpd-archive-keyring.gpg"
    update
    inside apt-get install -y otus-httpd 2>&1
    soon 2 serving
    same "version" 0.1.0-1 "$(inside dpkg-query -W -f '${Version}' otus-httpd)"
}

apt_upgrade() {
    local pid
    pid=$(main_pid)
    publish publisher "$work/published/otus-httpd_0.1.3-1_amd64.deb"
    update
    inside apt-get install -y --only-upgrade otus-httpd 2>&1
    same "version" 0.1.3-1 "$(inside dpkg-query -W -f '${Version}' otus-httpd)"
    another_main_pid "$pid"
    serving
}

dnf_scenario() {
    need_repository_tools || return
    export GNUPGHOME=$work/gnupg
    begin "dnf repository, $LAB_SUITE"
    step "the system boots, and a repository is made and signed" dnf_repository
    [ "$last_status" != 0 ] || step "dnf install otus-httpd, and it serves" dnf_install
    [ "$last_status" != 0 ] || step "a new version is published, and dnf upgrades to it" dnf_upgrade
    [ "$last_status" != 0 ] || step "a package that was changed after it was signed is refused" dnf_tampered
    [ "$last_status" != 0 ] || step "another key is refused" dnf_wrong_key
    end_repository
}

dnf_repository() {
    boot reset
    make_keys
    rpm_base
    rpm_packages "$rpm" "$work/rpms"
    mkdir -p "$work/published"
    cp "$work/rpms/1.rpm" "$work/published/otus-httpd-0.1.0-1.x86_64.rpm"
    cp "$work/rpms/2.rpm" "$work/published/otus-httpd-0.1.1-1.x86_64.rpm"
    cp "$work/rpms/4.rpm" "$work/published/otus-httpd-0.1.3-1.x86_64.rpm"
    publish publisher "$work/published/otus-httpd-0.1.0-1.x86_64.rpm"
    serve_repository
    inside curl -sSf -o /etc/yum.repos.d/otus-httpd.repo "$repository_url/otus-httpd.repo"
}

by_name() { inside dnf -y --releasever=9 --refresh "$@" otus-httpd 2>&1; }

dnf_install() {
    by_name install
    inside systemctl enable --now otus-httpd
    soon 2 serving
    same "version" 0.1.0 "$(inside rpm -q --qf '%{VERSION}' otus-httpd)"
}

dnf_upgrade() {
    publish publisher "$work/published/otus-httpd-0.1.1-1.x86_64.rpm"
    by_name upgrade
    same "version" 0.1.1 "$(inside rpm -q --qf '%{VERSION}' otus-httpd)"
    soon 5 serving
}

# The index knows nothing of it: whoever can write to the server cannot write to the package.
dnf_tampered() {
    local said file
    publish publisher "$work/published/otus-httpd-0.1.3-1.x86_64.rpm"
    file=$work/repository/rpm/otus-httpd-0.1.3-1.x86_64.rpm
    python3 - "$file" <<'END'
import sys
with open(sys.argv[1], "r+b") as package:
    package.seek(-1000, 2)
    byte = package.read(1)
    package.seek(-1000, 2)
    package.write(bytes([byte[0] ^ 1]))
END
    said=$(by_name upgrade) && {
        echo "$said"
        return 1
    }
    echo "$said"
    same "version" 0.1.1 "$(inside rpm -q --qf '%{VERSION}' otus-httpd)"
}

dnf_wrong_key() {
    local said
    rm -rf "$work/repository/rpm"
    inside dnf -q clean all
    publish stranger "$work/published/otus-httpd-0.1.3-1.x86_64.rpm"
    # The address tells another key now; the system has the one of before, and asks nobody.
    gpg --batch --armor --export "$(cat "$work/publisher")" >"$work/repository/otus-httpd.asc"
    # Whether a source that cannot be trusted is an error or is left out is the distribution's choice.
    said=$(by_name upgrade) || true
    has "what dnf said" 'GPG|[Ss]ignature|signing key' "$said"
    same "version" 0.1.1 "$(inside rpm -q --qf '%{VERSION}' otus-httpd)"
}

piuparts_scenario() {
    command -v piuparts >/dev/null || {
        skip "piuparts: the Debian package piuparts is missing"
        return
    }
    begin "piuparts, $LAB_SUITE"
    step "installed, removed and purged, it leaves nothing" piuparts_run
}

# Its image has logrotate, whose own note is not of the package.
piuparts_run() {
    piuparts -e "$(boot image)" -d "$LAB_SUITE" --no-eatmydata --ignore /var/lib/logrotate/status --tmpdir "$work" "$deb" 2>&1
}
