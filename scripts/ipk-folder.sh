#!/bin/sh
# Lays out what OpenWrt's `ipkg-build` (or `opkg-build`) makes a package of: CONTROL/ and the files under their names.
#
#     scripts/ipk-folder.sh TARGET EXECUTABLE FOLDER
#
# OpenWrt names architectures after processors, so one target fits several: ARCHITECTURE=… sets another than the usual.
set -eu

fail() { echo "ipk-folder: $*" >&2; exit 1; }
[ $# -eq 3 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
[ -x "$2" ] || fail "there is no executable $2"
[ ! -e "$3" ] || fail "$3 exists already"
case $1 in
x86_64-*) usual=x86_64 ;;
aarch64-*) usual=aarch64_generic ;;
armv7-*) usual=arm_cortex-a7 ;;
riscv64gc-*) usual=riscv64_riscv64 ;;
mipsel-*) usual=mipsel_24kc ;;
mips-*) usual=mips_24kc ;;
*) fail "OpenWrt has no name for $1 that is known here: set ARCHITECTURE" ;;
esac
files=$root/packaging/openwrt/files
install -D -m 0755 "$2" "$3/usr/bin/pulsegate"
install -D -m 0755 "$files/pulsegate.init" "$3/etc/init.d/pulsegate"
install -D -m 0644 "$files/pulsegate.config" "$3/etc/config/pulsegate"
install -D -m 0755 "$files/pulsegate-uci" "$3/usr/libexec/pulsegate-uci"
install -D -m 0644 "$files/pulsegate.profile" "$3/etc/profile.d/pulsegate.sh"
mkdir "$3/CONTROL"
cat >"$3/CONTROL/control" <<END
Package: pulsegate
Version: $(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)-1
Architecture: ${ARCHITECTURE:-$usual}
Maintainer: The pulsegate maintainers
Section: net
Priority: optional
License: MIT OR Apache-2.0
Description: Gateway for the devices of a LAN that send unframed JSON over TCP
END
echo /etc/config/pulsegate >"$3/CONTROL/conffiles"
cat >"$3/CONTROL/postinst" <<'END'
#!/bin/sh
[ -n "$IPKG_INSTROOT" ] || { /etc/init.d/pulsegate enable && /etc/init.d/pulsegate restart; }
END
cat >"$3/CONTROL/prerm" <<'END'
#!/bin/sh
[ -n "$IPKG_INSTROOT" ] || { /etc/init.d/pulsegate stop; /etc/init.d/pulsegate disable; }
exit 0
END
chmod 0755 "$3/CONTROL/postinst" "$3/CONTROL/prerm"
