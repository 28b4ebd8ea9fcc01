# The packages that an upgrade is tried with, made from those that are tried; read by `run`.
#
# Order: the Debian packages, the RPM packages.
#
# Invariant: the packages that are given are never written to.

# debian_version FROM VERSION TO CHANGE... - a copy with another version, changed by a command that
# is given the folder of the unpacked package
debian_version() {
    local from=$1 version=$2 to=$3 folder=$work/unpacked
    shift 3
    rm -rf "$folder"
    dpkg-deb -R "$from" "$folder"
    sed -i "s/^Version: .*/Version: $version/" "$folder/DEBIAN/control"
    [ $# = 0 ] || "$@" "$folder"
    (cd "$folder" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$folder/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -Zgzip -z1 -b "$folder" "$to" >/dev/null
    rm -rf "$folder"
}

# What a new version may bring: another sample configuration, which asks what becomes of an edited one.
new_sample() { echo "# This line came with a new version." >>"$1/etc/otus-httpd.conf"; }
# A program that does not start; what it says must reach the one who upgrades.
broken_version() {
    new_sample "$1"
    printf '#!/bin/sh\necho "this version is broken" >&2\nexit 1\n' >"$1/usr/sbin/otus-httpd"
}

# debian_packages DEB FOLDER - 1.deb as given, 2.deb with a new sample, 3.deb that does not start, 4.deb
debian_packages() {
    mkdir -p "$2"
    cp "$1" "$2/1.deb"
    debian_version "$1" 0.1.1-1 "$2/2.deb" new_sample
    debian_version "$1" 0.1.2-1 "$2/3.deb" broken_version
    debian_version "$1" 0.1.3-1 "$2/4.deb" new_sample
}

# rpm_packages RPM FOLDER - the same four as RPM packages. They are made inside the booted system, whose
# rpm knows how to write one: a specification is written from what the given package says of itself.
rpm_packages() {
    local number
    mkdir -p "$2" "$lab_root/srv/make"
    cp "$1" "$2/1.rpm"
    cp "$1" "$lab_root/srv/make/1.rpm"
    write /srv/make/another-version <<'END'
set -e
number=$1
cd /srv/make
rm -rf tree && mkdir tree
rpm2archive - <1.rpm | tar -C tree -xzf -
echo "# This line came with a new version." >>tree/etc/otus-httpd.conf
case $number in
    3) printf '#!/bin/sh\necho "this version is broken" >&2\nexit 1\n' >tree/usr/sbin/otus-httpd ;;
esac
ask() { rpm -qp --qf "$1" 1.rpm 2>/dev/null; }
scriptlet() {
    [ "$(ask "%{$2}")" = "(none)" ] || { echo "%$1"; ask "%{$2}"; echo; }
}
{
    ask "Name: %{NAME}\nVersion: 0.1.$((number - 1))\nRelease: %{RELEASE}\nSummary: %{SUMMARY}\nLicense: %{LICENSE}\n"
    echo "AutoReqProv: no"
    ask '[Requires: %{REQUIRENAME} %{REQUIREFLAGS:depflags} %{REQUIREVERSION}\n]' | grep -vE 'rpmlib\(|: (/bin/sh|config\()'
    ask '[Provides: %{PROVIDENAME}\n]' | grep -vE ': (otus-httpd|config\()'
    printf '%s\n' '%description' 'Another version.'
    printf '%s\n' '%install' 'cp -a /srv/make/tree/. %{buildroot}/'
    scriptlet pre PREIN
    scriptlet post POSTIN
    scriptlet preun PREUN
    scriptlet postun POSTUN
    scriptlet posttrans POSTTRANS
    echo '%files'
    # Flags of a file: 1 is configuration, 16 that an edited one is not replaced, 2 documentation, 64 not shipped.
    ask '[%{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEFLAGS} %{FILENAMES}\n]' |
        while read -r mode user group flags name; do
            kind=
            [ $((flags & 17)) != 17 ] || kind='%config(noreplace)'
            [ $((flags & 64)) = 0 ] || kind='%ghost'
            case $mode in 04*) kind="$kind %dir" ;; esac
            echo "%attr(${mode#"${mode%????}"}, $user, $group) $kind $name"
        done
} >another.spec
rpmbuild -bb --quiet --buildroot /srv/make/root --define '_rpmdir /srv/make/built' --define '_build_id_links none' \
    --define 'debug_package %{nil}' --define '__os_install_post %{nil}' --define '_binary_payload w1.gzdio' another.spec
mv built/*/*.rpm "$number.rpm"
END
    for number in 2 3 4; do
        inside bash /srv/make/another-version "$number" || return
        mv "$lab_root/srv/make/$number.rpm" "$2/"
    done
    rm -r "$lab_root/srv/make"
}
