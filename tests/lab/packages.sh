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
broken_program() { printf '#!/bin/sh\necho "this version is broken" >&2\nexit 1\n' >"$1/usr/sbin/otus-httpd"; }

# debian_packages DEB FOLDER - 1.deb as given, 2.deb with a new sample, 3.deb that does not start, 4.deb
debian_packages() {
    mkdir -p "$2"
    cp "$1" "$2/1.deb"
    debian_version "$1" 0.1.1-1 "$2/2.deb" new_sample
    debian_version "$1" 0.1.2-1 "$2/3.deb" broken_program
    debian_version "$1" 0.1.3-1 "$2/4.deb"
}
