#!/bin/sh
# Installs, upgrades, removes and purges a Debian package, as root, and looks at what that does:
#
#     scripts/package-test.sh target/packages/pulsegate_VERSION_ARCHITECTURE.deb
#
# All of it happens in a copy of this machine that is thrown away: an overlay over its root, in a mount namespace, with
# an empty /run, so that no systemd runs in there. What systemd is asked to do is recorded instead, and the units are
# judged by systemd-analyze. The newer version for the upgrade is the package itself with another number. The executable
# of a package for arm64 or armhf runs under qemu-user, which `scripts/cross.sh --fetch-qemu` fetches.
set -eu

fail() { printf 'package-test: FAILED: %s\n' "$*" >&2; exit 1; }
step() { printf 'package-test: %s\n' "$*"; }

if [ "${1:-}" != --inside ]; then
    if [ $# != 1 ] || [ ! -f "$1" ]; then
        echo "usage: scripts/package-test.sh FILE.deb" >&2
        exit 2
    fi
    [ "$(id -u)" = 0 ] || fail "only root can install packages; NOTHING WAS TESTED"
    for tool in dpkg unshare systemd-analyze systemd-sysusers; do
        command -v "$tool" >/dev/null || fail "$tool is needed; NOTHING WAS TESTED"
    done
    # The emulator of another architecture's executable; nothing for this one's.
    architecture=$(dpkg-deb -f "$1" Architecture)
    case $architecture in
    "$(dpkg --print-architecture)") emulator='' ;;
    arm64) emulator=qemu-aarch64 ;;
    armhf) emulator=qemu-arm ;;
    *) fail "a package for $architecture cannot be installed here; NOTHING WAS TESTED" ;;
    esac
    tools=''
    if [ -n "$emulator" ]; then
        tools=$(realpath -m "${CROSS_DIR:-$(dirname "$0")/../target/cross}")
        if [ -x "$tools/bin/$emulator" ]; then
            emulator=$tools/bin/$emulator
        else
            tools=''
            command -v "$emulator" >/dev/null ||
                fail "$emulator is needed (scripts/cross.sh --fetch-qemu, or Debian's qemu-user); NOTHING WAS TESTED"
        fi
    fi
    copy=$(mktemp -d)
    trap 'rmdir "$copy"' EXIT
    # shellcheck disable=SC2016 # for the shell inside
    unshare --mount sh -euc '
        mount -t tmpfs tmpfs "$1"
        mkdir "$1/upper" "$1/work" "$1/root"
        mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
        for tree in proc dev; do mount --rbind "/$tree" "$1/root/$tree"; done
        mount -t tmpfs tmpfs "$1/root/run"
        mount -t tmpfs tmpfs "$1/root/tmp"
        cp "$2" "$1/root/tmp/pulsegate.deb"
        cp "$3" "$1/root/tmp/package-test"
        if [ -n "$5" ]; then
            mkdir -p "$1/root$5" # it may lie below /tmp
            mount -o bind,ro "$5" "$1/root$5"
        fi
        exec chroot "$1/root" sh /tmp/package-test --inside "$4"
    ' sh "$copy" "$1" "$0" "$emulator" "$tools"
    exit
fi

package=/tmp/pulsegate.deb
emulator=$2
configuration=/etc/pulsegate/pulsegate.toml
cd /tmp

[ -z "$emulator" ] || dpkg --add-architecture "$(dpkg-deb -f "$package" Architecture)"

# As if pulsegate had never been here.
dpkg --purge pulsegate >/dev/null 2>&1 || true
! getent passwd pulsegate >/dev/null || userdel pulsegate
! getent group pulsegate >/dev/null || groupdel pulsegate
rm -rf /etc/pulsegate /usr/bin/pulsegate /etc/systemd/system/pulsegate.* /etc/sysusers.d/pulsegate.conf

# deb-systemd-helper enables units by systemctl, which needs no systemd; all else is recorded.
real=$(command -v systemctl)
cat >systemctl <<EOF
#!/bin/sh
[ "\$1" = daemon-reload ] || exec $real "\$@"
echo reload >>/tmp/asked
EOF
cat >deb-systemd-invoke <<'EOF'
#!/bin/sh
echo "$*" >>/tmp/asked
EOF
chmod +x systemctl deb-systemd-invoke
PATH=/tmp:$PATH

dpkg_does() { dpkg "$@" </dev/null >log 2>&1 || { cat log >&2; fail "dpkg $*"; }; }

# Every name there is, but for what dpkg keeps for itself.
names() {
    find /etc /opt /srv /usr /var \( -path /var/cache -o -path /var/log -o -path /var/lib/dpkg \) -prune -o -print | sort
    find /run /var/lib/dpkg/info -name '*pulsegate*'
}

asked() { # CALLS: since the last time, systemd was asked to do this
    got=$(uniq asked | tr '\n' ' ')
    [ "${got% }" = "$1" ] || fail "systemd was asked to do '${got% }', not '$1'"
    : >asked
}

is_installed() { # VERSION
    [ "$(dpkg-query -W -f '${Status} ${Version}' pulsegate)" = "install ok installed $1" ] || fail "$1 is not installed"
    [ "$($emulator /usr/bin/pulsegate --version)" = "pulsegate $version" ] || fail "the executable does not run"
    $emulator /usr/bin/pulsegate check-config "$configuration" >/dev/null || fail "the configuration is refused"
    id pulsegate >/dev/null || fail "there is no user"
    getent group pulsegate >/dev/null || fail "there is no group"
    systemd-analyze verify --man=no pulsegate.service pulsegate.socket || fail "the units are not sound"
    [ -L /etc/systemd/system/multi-user.target.wants/pulsegate.service ] || fail "the service is not enabled"
    [ ! -e /etc/systemd/system/sockets.target.wants/pulsegate.socket ] || fail "the socket is enabled"
}

is_edited() { grep -q '^# edited$' "$configuration" || fail "the configuration is not the edited one"; }

dpkg-deb -c "$package" | grep -q ' ./usr/share/doc/pulsegate/NOTICES$' || fail "the package has no NOTICES"
version=$(dpkg-deb -f "$package" Version)
dpkg-deb -R "$package" newer
sed -i "s/^Version: .*/Version: $version+newer/" newer/DEBIAN/control
dpkg-deb --root-owner-group -b newer newer.deb >/dev/null

life() { # INSTALL UPGRADE REMOVE PURGE: what systemd is asked to do
    names >before
    : >asked
    step "  install"
    dpkg_does -i "$package"
    asked "$1"
    is_installed "$version"

    step "  upgrade: an edited configuration stays"
    echo "# edited" >>"$configuration"
    dpkg_does -i newer.deb
    asked "$2"
    is_installed "$version+newer"
    is_edited

    step "  remove: the configuration stays"
    dpkg_does --remove pulsegate
    asked "$3"
    [ ! -e /usr/bin/pulsegate ] || fail "the executable is still there"
    is_edited

    step "  install again: it is the edited one"
    dpkg_does -i "$package"
    : >asked
    is_installed "$version"
    is_edited

    step "  purge: nothing stays"
    mkdir /run/pulsegate
    dpkg_does --purge pulsegate
    asked "$4"
    names >after
    diff before after >&2 || fail "this is what a purge leaves (>) or takes along (<)"
    ! getent passwd pulsegate || fail "the user is still there"
    ! getent group pulsegate || fail "the group is still there"
}

step "a machine without systemd"
sysusers=$(command -v systemd-sysusers)
mv "$sysusers" "$sysusers.away"
life "" "" "" ""
mv "$sysusers.away" "$sysusers"

step "a machine with systemd"
mkdir -p /run/systemd/system
life "reload start pulsegate.service" \
    "reload restart pulsegate.service" \
    "stop pulsegate.socket pulsegate.service reload" \
    "stop pulsegate.socket pulsegate.service reload"
step "all good"
