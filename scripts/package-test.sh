#!/bin/sh
# Installs, upgrades, removes and purges a Debian package as root, and checks the effects:
#
#     scripts/package-test.sh target/packages/pulsegate_VERSION_ARCHITECTURE.deb
#
# All of it happens in a disposable copy of this machine: an overlay over its root, in a mount namespace, with an empty
# /run, so that no systemd runs there. The script records the requests to systemd, and systemd-analyze checks the units.
# The newer version for the upgrade is the same package with another number. The executable of a package for arm64 or
# armhf runs under qemu-user, which `scripts/cross.sh --fetch-qemu` fetches.
set -eu

fail() { printf 'package-test: FAILED: %s\n' "$*" >&2; exit 1; }
step() { printf 'package-test: %s\n' "$*"; }

if [ "${1:-}" != --inside ]; then
    if [ $# != 1 ] || [ ! -f "$1" ]; then
        echo "usage: scripts/package-test.sh FILE.deb" >&2
        exit 2
    fi
    [ "$(id -u)" = 0 ] || fail "expected root, user id is $(id -u); NOTHING WAS TESTED"
    for tool in dpkg unshare systemd-analyze systemd-sysusers; do
        command -v "$tool" >/dev/null || fail "$tool is not installed; NOTHING WAS TESTED"
    done
    # The emulator for the package's architecture, or nothing where this machine runs it.
    architecture=$(dpkg-deb -f "$1" Architecture)
    case $architecture in
    "$(dpkg --print-architecture)") emulator='' ;;
    arm64) emulator=qemu-aarch64 ;;
    armhf) emulator=qemu-arm ;;
    *) fail "expected a package for this machine, arm64 or armhf, got $architecture; NOTHING WAS TESTED" ;;
    esac
    tools=''
    if [ -n "$emulator" ]; then
        tools=$(realpath -m "${CROSS_DIR:-$(dirname "$0")/../target/cross}")
        if [ -x "$tools/bin/$emulator" ]; then
            emulator=$tools/bin/$emulator
        else
            tools=''
            command -v "$emulator" >/dev/null ||
                fail "$emulator is not installed: run scripts/cross.sh --fetch-qemu; NOTHING WAS TESTED"
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

# Remove all traces of an earlier pulsegate.
dpkg --purge pulsegate >/dev/null 2>&1 || true
! getent passwd pulsegate >/dev/null || userdel pulsegate
! getent group pulsegate >/dev/null || groupdel pulsegate
rm -rf /etc/pulsegate /usr/bin/pulsegate /etc/systemd/system/pulsegate.* /etc/sysusers.d/pulsegate.conf

# deb-systemd-helper enables units by systemctl, which needs no systemd. The script records all other requests.
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

# Prints every file name, except dpkg's own files.
names() {
    find /etc /opt /srv /usr /var \( -path /var/cache -o -path /var/log -o -path /var/lib/dpkg \) -prune -o -print | sort
    find /run /var/lib/dpkg/info -name '*pulsegate*'
}

asked() { # REQUESTS: expects these requests to systemd since the last check
    got=$(uniq asked | tr '\n' ' ')
    [ "${got% }" = "$1" ] || fail "expected the requests '$1' to systemd, saw '${got% }'"
    : >asked
}

is_installed() { # VERSION
    state=$(dpkg-query -W -f '${Status} ${Version}' pulsegate)
    [ "$state" = "install ok installed $1" ] || fail "expected the state 'install ok installed $1', saw '$state'"
    says=$($emulator /usr/bin/pulsegate --version) || fail "expected the executable to run, saw exit code $?"
    [ "$says" = "pulsegate $version" ] || fail "expected 'pulsegate $version' from --version, saw '$says'"
    $emulator /usr/bin/pulsegate check-config "$configuration" >/dev/null ||
        fail "expected check-config to accept $configuration, saw exit code $?"
    id pulsegate >/dev/null || fail "expected a user pulsegate, found none"
    getent group pulsegate >/dev/null || fail "expected a group pulsegate, found none"
    systemd-analyze verify --man=no pulsegate.service pulsegate.socket ||
        fail "expected systemd-analyze to accept the units, saw exit code $?"
    [ -L /etc/systemd/system/multi-user.target.wants/pulsegate.service ] ||
        fail "expected an enabled service, found no link in multi-user.target.wants"
    [ ! -e /etc/systemd/system/sockets.target.wants/pulsegate.socket ] ||
        fail "expected a disabled socket, found a link in sockets.target.wants"
}

is_edited() { grep -q '^# edited$' "$configuration" || fail "expected the edited $configuration, found another"; }

dpkg-deb -c "$package" | grep -q ' ./usr/share/doc/pulsegate/NOTICES$' || fail "expected /usr/share/doc/pulsegate/NOTICES in the package, found none"
version=$(dpkg-deb -f "$package" Version)
dpkg-deb -R "$package" newer
sed -i "s/^Version: .*/Version: $version+newer/" newer/DEBIAN/control
dpkg-deb --root-owner-group -b newer newer.deb >/dev/null

life() { # INSTALL UPGRADE REMOVE PURGE: the expected requests to systemd
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
    [ ! -e /usr/bin/pulsegate ] || fail "expected no executable after a removal, found /usr/bin/pulsegate"
    is_edited

    step "  install again: the edited configuration returns"
    dpkg_does -i "$package"
    : >asked
    is_installed "$version"
    is_edited

    step "  purge: nothing stays"
    mkdir /run/pulsegate
    dpkg_does --purge pulsegate
    asked "$4"
    names >after
    diff before after >&2 || fail "expected the files of before, a purge leaves (>) or takes (<) the above"
    ! getent passwd pulsegate || fail "expected no user pulsegate after a purge, found one"
    ! getent group pulsegate || fail "expected no group pulsegate after a purge, found one"
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
