# The RPM package on a booted system, by dnf; read by `run`.
#
# Order: a package that stands for the base system; installation, checks, an edited configuration,
# the upgrade under load, what any service must stand, removal.
#
# Invariant: what Debian's rpm cannot know of Fedora is declared by lab-base and nothing else, so
# that an unmet need of the package fails here as it would there.

# Without --quiet, which would hide what the scripts of a package say.
dnf() { inside dnf -y --releasever=9 '--disablerepo=*' "$@" 2>&1 </dev/null; }

rpm_scenario() {
    begin "rpm, $LAB_SUITE"
    step "the system boots, with rpm" rpm_boot
    step "dnf installs the file" rpm_install
    [ "$last_status" = 0 ] || return
    step "it runs as its own user with one capability" deb_identity
    step "rpm -V finds nothing changed, and an edit" rpm_verify
    step "an edited configuration holds after a reload, in the same process" reload_good
    step "HTTPS with a pair of its own, renewed" https_own_pair
    step "a restart and an upgrade under a load of HTTPS" https_upgrade
    step "5 restarts under load" restarts 5
    step "upgrade under load: the edited configuration is kept" rpm_upgrade
    step "a version that does not start leaves the old one serving" rpm_broken_version
    step "a crash is mended" crash
    step "socket activation: the first request starts the service" socket_activation
    step "logrotate: the new file gets the lines, and none is lost" log_rotation
    step "reboot: it serves, changes are kept" reboot_system
    step "removal stops it and leaves only what was edited" rpm_remove
}

rpm_boot() {
    boot reset
    rpm_base
    rpm_packages "$rpm" "$work/rpms"
    mkdir -p "$lab_root/srv/packages"
    cp "$work"/rpms/*.rpm "$lab_root/srv/packages/"
    files_of_system >"$work/files-before"
}

# A database of rpm without packages knows of no library, so one package has to declare what the
# system has: glibc as in EL 9 and no newer, whatever Debian brings.
rpm_base() {
    write /root/lab-base <<'END'
set -e
glibc_minor_max=34
mkdir -p /etc/rpm /etc/yum.repos.d /etc/systemd/system-preset
echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros.dbpath
echo 'disable *' >/etc/systemd/system-preset/99-default-disable.preset
rpm --initdb
libraries=$(dpkg -L libc6 libgcc-s1 | grep -E '/(lib[a-z_]+\.so\.[0-9]+|ld-linux[^/]*)$')
{
    printf '%s\n' 'Name: lab-base' 'Version: 1' 'Release: 1' 'Summary: Stands for the base system' \
        'License: none' 'BuildArch: noarch' 'AutoReqProv: no' "Provides: glibc = 2.$glibc_minor_max" \
        "Provides: systemd = $(systemctl --version | awk 'NR == 1 { print $2 }')" \
        'Provides: /bin/sh /usr/bin/sh /usr/bin/systemctl rtld(GNU_HASH) shadow-utils'
    for library in $libraries; do [ ! -e "$library" ] || echo "$library"; done | /usr/lib/rpm/find-provides |
        awk -v max=$glibc_minor_max '{ v = $0; if (sub(/.*GLIBC_2\./, "", v) && v + 0 > max) next; print "Provides: " $0 }'
    printf '%s\n' '%description' 'Stands for the base system.' '%files'
} >/root/lab-base.spec
rpmbuild -bb --quiet --define '_rpmdir /root' /root/lab-base.spec
rpm -U --force --force-debian /root/noarch/lab-base-1-1.noarch.rpm 2>/dev/null
END
    inside sh /root/lab-base
}

rpm_install() {
    local said done_at
    said=$(dnf install /srv/packages/1.rpm) || { echo "$said"; return 1; }
    echo "$said"
    done_at=$(date +%s%N)
    # As on Fedora, a package does not enable a service by itself; its administrator does.
    inside systemctl enable --now otus-httpd
    soon 2 serving
    figure "served $((($(date +%s%N) - done_at) / 1000000)) ms after dnf's end"
    same "is-enabled" enabled "$(inside systemctl is-enabled otus-httpd)"
    big_document
}

rpm_verify() {
    # Whose the folder of logs is, systemd-tmpfiles says; all else must be as the package has it.
    same "rpm -V" "" "$(inside rpm -V --nomtime otus-httpd | grep -v ' /var/log/otus-httpd$' || true)"
    echo '# edited by the administrator' >>"$lab_root/etc/otus-httpd.conf"
    has "rpm -V" '^S.5.* c /etc/otus-httpd.conf$' "$(inside rpm -V otus-httpd || true)"
}

rpm_upgrade() {
    local pid said download
    pid=$(main_pid)
    start_load
    start_download 150
    said=$(dnf install /srv/packages/2.rpm) || { echo "$said"; return 1; }
    echo "$said"
    soon 5 another_main_pid "$pid"
    sleep 1
    end_load
    end_download
    soon 5 alone "$(main_pid)"
    has "edited configuration" '^# edited by the administrator$' "$(inside cat /etc/otus-httpd.conf)"
    has "the package's configuration beside it" '^# This line came with a new version' "$(inside cat /etc/otus-httpd.conf.rpmnew)"
    same "version" 0.1.1 "$(inside rpm -q --qf '%{VERSION}' otus-httpd)"
    serving
}

rpm_broken_version() {
    local pid said
    pid=$(main_pid)
    stays_with_old dnf install /srv/packages/3.rpm
    has "what dnf said of it" 'otus-httpd: ' "$said"
    # The next good version takes over.
    dnf install /srv/packages/4.rpm
    soon 5 another_main_pid "$pid"
    serving
}

rpm_remove() {
    local left
    dnf remove otus-httpd
    no_process
    refuses inside systemctl is-enabled otus-httpd
    has "edited configuration" '^# edited by the administrator$' "$(inside cat /etc/otus-httpd.conf.rpmsave)"
    rm -rf "$lab_root/etc/otus-httpd.conf.rpmsave" "$lab_root/etc/otus-httpd.conf.rpmnew" "$lab_root/var/www" "$lab_root/etc/otus-httpd.conf.d"
    files_of_system >"$work/files-after"
    # Folders that many packages share belong to the base system of Fedora; logs stay.
    left=$(comm -13 "$work/files-before" "$work/files-after" | grep -vE '^/var/(lib/(rpm|dnf)|log/(dnf|hawkey|otus-httpd))|^/usr/share/(fish|fish/vendor_completions.d|licenses|zsh/site-functions)$' || true)
    same "files left behind" "" "$left"
}
