#!/bin/sh
# Lays out the folder from which OpenWrt's ipkg-build makes a package:
#
#     scripts/ipk-folder.sh EXECUTABLE ARCHITECTURE FOLDER
#
# EXECUTABLE is static, for the router. ARCHITECTURE is OpenWrt's name: `opkg print-architecture` prints it there.
set -eu

[ $# = 3 ] || { echo "usage: scripts/ipk-folder.sh EXECUTABLE ARCHITECTURE FOLDER" >&2; exit 2; }
executable=$1 architecture=$2 folder=$3
root=$(cd "$(dirname "$0")/.." && pwd)
from=$root/packaging/openwrt
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
[ ! -e "$folder" ] || { echo "ipk-folder: $folder exists: expected the name of a new folder" >&2; exit 1; }

install -D -m 755 "$executable" "$folder/usr/bin/pulsegate"
install -D -m 755 "$from/files/pulsegate.init" "$folder/etc/init.d/pulsegate"
install -D -m 644 "$from/files/pulsegate.config" "$folder/etc/config/pulsegate"
install -D -m 755 "$from/files/pulsegate-uci" "$folder/usr/libexec/pulsegate-uci"
install -D -m 644 "$from/files/pulsegate.profile" "$folder/etc/profile.d/pulsegate.sh"
install -d "$folder/usr/share/licenses/pulsegate"
"$root/scripts/notices.py" >"$folder/usr/share/licenses/pulsegate/NOTICES"
chmod 644 "$folder/usr/share/licenses/pulsegate/NOTICES"

install -d "$folder/CONTROL"
install -m 755 "$from/CONTROL/postinst" "$from/CONTROL/prerm" "$folder/CONTROL"
install -m 644 "$from/CONTROL/conffiles" "$folder/CONTROL"
sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/" "$from/CONTROL/control" >"$folder/CONTROL/control"
chmod 644 "$folder/CONTROL/control"
