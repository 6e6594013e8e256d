#!/bin/sh
# Installs, upgrades, removes and purges the Debian package on this machine, and checks what is there after each.
#
#     scripts/package-test.sh DEB NEWER-DEB     # as root; the package must not be installed
#
# The service itself runs only where systemd does; elsewhere that it would be started at boot is what is checked.
set -eu

fail() { echo "package-test: $*" >&2; exit 1; }
[ $# -eq 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail "NOT TESTED: installing packages needs root"
! dpkg -s pulsegate >/dev/null 2>&1 || fail "NOT TESTED: pulsegate is installed on this machine"
config=/etc/pulsegate/pulsegate.toml
enabled=/etc/systemd/system/multi-user.target.wants/pulsegate.service

there() { for path; do [ -e "$path" ] || [ -L "$path" ] || fail "$step: $path is not there"; done; }
gone() { for path; do if [ -e "$path" ] || [ -L "$path" ]; then fail "$step: $path is still there"; fi; done; }
paths() { find /etc /usr /lib/systemd /var/lib -xdev -name '*pulsegate*' ! -path '/var/lib/dpkg/*' 2>/dev/null | sort; }
running() {
    [ ! -d /run/systemd/system ] || systemctl --quiet is-active pulsegate || fail "$step: the service does not run"
}

before=$(paths)
step=install
dpkg -i "$1" >/dev/null || fail "dpkg -i $1"
# Documentation is left out of some images: /etc/dpkg/dpkg.cfg.d
there /usr/bin/pulsegate $config /lib/systemd/system/pulsegate.service "$enabled" \
    /usr/share/bash-completion/completions/pulsegate /usr/share/zsh/vendor-completions/_pulsegate
for page in man1/pulsegate.1 man5/pulsegate.toml.5 man7/pulsegate-control.7; do
    dpkg -L pulsegate | grep -qx "/usr/share/man/$page.gz" || fail "$step: no $page"
done
pulsegate --version >/dev/null || fail "$step: the executable does not run"
pulsegate check-config $config || fail "$step: the configuration is wrong"
id pulsegate >/dev/null || fail "$step: there is no user pulsegate"
running

step=upgrade
echo '# edited' >>$config
old=$(dpkg-query -W -f '${Version}' pulsegate)
dpkg -i "$2" >/dev/null || fail "dpkg -i $2"
[ "$(dpkg-query -W -f '${Version}' pulsegate)" != "$old" ] || fail "$step: the version is the same"
grep -qx '# edited' $config || fail "$step: the edited configuration was replaced"
there "$enabled"
running

step=remove
dpkg -r pulsegate >/dev/null || fail "dpkg -r"
gone /usr/bin/pulsegate /lib/systemd/system/pulsegate.service
grep -qx '# edited' $config || fail "$step: the configuration is gone"

step=purge
dpkg -P pulsegate >/dev/null || fail "dpkg -P"
gone $config /etc/pulsegate "$enabled" /run/pulsegate
left=$(paths)
[ "$left" = "$before" ] || fail "$step: left behind: $left"
echo "package-test: installing, upgrading, removing and purging work"
