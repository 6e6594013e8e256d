//! The converter from a UCI file to TOML, the init script and the package directory. The test replaces functions of
//! OpenWrt's /lib/functions.sh, and the real executable checks the TOML.

#[path = "common/environment.rs"]
mod environment;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// As in OpenWrt, the output of `uci export` is a script that calls these functions, and each calls back.
const FUNCTIONS: &str = r#"
config() { CONFIG_SECTION=$2; config_cb "$1" "$2"; }
option() { local name=$1; shift; option_cb "$name" "$*"; }
list() { local name=$1; shift; list_cb "$name" "$*"; }
config_load() { . "$IPKG_INSTROOT/etc/config/$1" && config_cb; }
"#;

/// A root directory with these functions and a UCI file. Drop removes it.
struct Root(PathBuf);

impl Root {
    fn new(name: &str, uci: &str) -> Self {
        let root = std::env::temp_dir().join(format!("pulsegate-openwrt-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("lib")).unwrap();
        fs::create_dir_all(root.join("etc/config")).unwrap();
        fs::write(root.join("lib/functions.sh"), FUNCTIONS).unwrap();
        fs::write(root.join("etc/config/pulsegate"), uci).unwrap();
        Self(root)
    }

    /// Returns the converter's TOML, which is equal in this machine's shell and in busybox's (as on OpenWrt).
    fn toml(&self) -> String {
        let here = self.converted(environment::program("sh"));
        let mut busybox = environment::program("busybox");
        if busybox.arg("true").output().is_ok() {
            let mut ash = environment::program("busybox");
            ash.arg("ash");
            assert_eq!(self.converted(ash), here, "busybox's shell differs from this machine's");
        } else {
            eprintln!("NOT CHECKED: OpenWrt's shell: busybox is not installed");
        }
        here
    }

    fn converted(&self, mut shell: Command) -> String {
        let converter = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/openwrt/files/pulsegate-uci");
        let output = shell.arg(converter).env("IPKG_INSTROOT", &self.0).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the values or the error of the real executable.
    fn judged(&self) -> Result<String, String> {
        let file = self.0.join("pulsegate.toml");
        fs::write(&file, self.toml()).unwrap();
        let mut program = environment::program(env!("CARGO_BIN_EXE_pulsegate"));
        let output = program.args(["serve", "--print-config", "--config"]).arg(&file).stdin(Stdio::null()).output();
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_shipped_file_is_valid() {
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/openwrt/files/pulsegate.config"));
    let shown = Root::new("shipped", &shipped.unwrap()).judged().unwrap();
    assert!(shown.contains("connections_max = 200 "), "{shown}");
    assert!(shown.contains(r#"allow = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fe80::/10", "fc00::/7"]"#));
}

#[test]
fn every_kind_of_value_is_converted() {
    let uci = r#"
config pulsegate 'limits'
	option connections_max '7'
	option object_bytes_max '65536'
	option object_timeout '1m 30s'
config pulsegate 'control'
	option mode '0600'
config pulsegate 'access'
	list allow '192.0.2.0/24'
	list allow '2001:db8::/32'
	list deny '192.0.2.7'
	list connections_per_ip_overrides '192.0.2.0/24=3'
	list connections_per_ip_overrides '192.0.2.9=1'
config pulsegate 'discovery'
	option listen 'off'
	option reply 'a "quoted" one'
	option burst '5'
config pulsegate 'main'
	option enabled '1'
	list listen '0.0.0.0:5556'
	option terminator '\n'
"#;
    let shown = Root::new("kinds", uci).judged().unwrap();
    for line in [
        r#"listen = ["0.0.0.0:5556"]"#,
        r#"terminator = "\n""#,
        r#"listen = "off""#,
        r#"reply = "a \"quoted\" one""#,
        "burst = 5 ",
        "connections_max = 7 ",
        r#"object_bytes_max = "64KiB""#,
        r#"object_timeout = "1m 30s""#,
        r#"allow = ["192.0.2.0/24", "2001:db8::/32"]"#,
        r#"deny = ["192.0.2.7"]"#,
        r#"connections_per_ip_overrides = { "192.0.2.0/24" = 3, "192.0.2.9" = 1 }"#,
        r#"mode = "0600""#,
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
}

/// UCI values are literal: TOML's special characters reach the gateway as they stand in the file.
#[test]
fn special_characters_stay_as_they_are() {
    let uci = r#"
config pulsegate 'discovery'
	option reply 'C:\new "x" \\
second line

'
config pulsegate 'control'
	option path '/tmp/tab	and \u0041'
config pulsegate 'main'
	option terminator '\r\n'
"#;
    let shown = Root::new("special", uci).judged().unwrap();
    for line in [
        r#"reply = "C:\\new \"x\" \\\\\nsecond line\n\n""#,
        r#"path = "/tmp/tab\tand \\u0041""#,
        r#"terminator = "\r\n""#,
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
}

/// A value cannot add a key to another section.
#[test]
fn a_bad_override_is_one_bad_value() {
    let uci = "config pulsegate 'access'\nlist connections_per_ip_overrides '192.0.2.0/24=3 }\n[control]\n#'\n";
    let error = Root::new("override", uci).judged().unwrap_err();
    assert!(error.contains("connections_per_ip_overrides"), "{error}");
}

/// Returns the init script's calls of procd and OpenWrt's functions, one a line.
fn started(root: &Root) -> String {
    let init = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/openwrt/files/pulsegate.init"));
    let init = init.unwrap().replace("/var/", &format!("{}/var/", root.0.display())).replace(
        "/usr/libexec/pulsegate-uci",
        concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/openwrt/files/pulsegate-uci"),
    );
    let init = init.replace("/usr/bin/pulsegate", env!("CARGO_BIN_EXE_pulsegate"));
    let played = r#"
config_get_bool() { eval "$1=$4"; }
group_exists() { false; }
user_exists() { false; }
group_add_next() { echo "group $1" >&2; echo 65536; }
user_add() { echo "user $1 with group $3" >&2; }
chown() { echo "chown $*" >&2; }
logger() { echo "log $*" >&2; }
procd_open_instance() { :; }
procd_close_instance() { :; }
procd_set_param() { echo "$*" >&2; }
"#;
    let script = format!(
        "{FUNCTIONS}\nconfig_cb() {{ :; }}; option_cb() {{ :; }}; list_cb() {{ :; }}\n{played}\n{init}\nstart_service"
    );
    let output = environment::program("sh").args(["-c", &script]).env("IPKG_INSTROOT", &root.0).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn procd_runs_the_gateway_as_its_own_user_and_restarts_it_for_ever() {
    let root = Root::new("init", "config pulsegate 'main'\noption enabled '1'\n");
    let calls = started(&root);
    let run = root.0.join("var/run/pulsegate");
    for line in [
        "user pulsegate with group 65536",
        &format!("chown pulsegate:pulsegate {}", run.display()),
        "user pulsegate",
        "group pulsegate",
        "respawn 3600 5 0",
    ] {
        assert!(calls.lines().any(|call| call == line), "expected the call {line:?}, saw:\n{calls}");
    }
    let command = calls.lines().find(|call| call.starts_with("command ")).expect(&calls);
    let profile = include_str!("../packaging/openwrt/files/pulsegate.profile");
    let path = profile.split_once("PULSEGATE_CONTROL_PATH=").unwrap().1.trim();
    let socket = command.split_once("--control ").unwrap().1.split(' ').next().unwrap();
    assert_eq!(socket, format!("{}{path}", root.0.display()), "the commands and the gateway use one socket");
    assert_eq!(run.join("control.sock").display().to_string(), socket);
}

#[test]
fn the_gateway_reports_a_wrong_value() {
    let check = |name: &str, uci: &str, sentence: &str| {
        let error = Root::new(name, uci).judged().unwrap_err();
        assert!(error.contains(sentence), "{error}");
    };
    let limits = "config pulsegate 'limits'\n";
    check("word", &format!("{limits}option connections_max 'many'"), "expected a whole number");
    check("name", &format!("{limits}option conections_max '7'"), "did you mean limits.connections_max?");
    check("section", "config pulsegate 'limit'\noption connections_max '7'", "unknown section 'limit'");
}

/// The converter's list of numbers has every key that is a bare number in TOML, and no other.
#[test]
fn the_list_of_numbers_is_complete() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"));
    let defaults = fs::read_to_string(format!("{root}/pulsegate.toml")).unwrap();
    let is_number = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit());
    let pairs = defaults.lines().filter_map(|line| line.split_once(" = "));
    let mut numbers: Vec<_> = pairs.filter(|(_, value)| is_number(value)).map(|(name, _)| name).collect();
    let converter = fs::read_to_string(format!("{root}/packaging/openwrt/files/pulsegate-uci")).unwrap();
    let line = converter.lines().find_map(|line| line.strip_prefix("numbers=\"")).unwrap();
    let mut known: Vec<_> = line.trim_end_matches('"').split_whitespace().collect();
    numbers.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, numbers);
}

/// The files and modes of packaging/openwrt/README.md, and the control files for ipkg-build and opkg.
#[test]
fn the_folder_for_a_package_is_complete() {
    let root = Root::new("ipk", "");
    let folder = root.0.join("ipk");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ipk-folder.sh");
    let executable = env!("CARGO_BIN_EXE_pulsegate");
    assert!(
        environment::program("sh").args([script, executable, "mips_24kc"]).arg(&folder).status().unwrap().success()
    );
    let mode = |path: &str| fs::metadata(folder.join(path)).map(|file| file.permissions().mode() & 0o7777).ok();

    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/openwrt/README.md")).unwrap();
    let rows = readme.lines().filter(|line| line.starts_with("| ") && line.contains(" | `/"));
    let documented: Vec<(&str, u32)> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            (cells[2].trim_start_matches('/'), u32::from_str_radix(cells[3], 8).unwrap())
        })
        .collect();
    assert_eq!(documented.len(), 5);
    for (path, expected) in documented {
        assert_eq!(mode(path), Some(expected), "{path}");
    }
    let text = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    for line in text("CONTROL/conffiles").lines() {
        assert!(mode(line.trim_start_matches('/')).is_some(), "{line} is not in the package");
    }
    let control = text("CONTROL/control");
    for line in ["Package: pulsegate", concat!("Version: ", env!("CARGO_PKG_VERSION")), "Architecture: mips_24kc"] {
        assert!(control.lines().any(|found| found == line), "{line}\n{control}");
    }

    // The licences of the executable's parts.
    let notices = text("usr/share/licenses/pulsegate/NOTICES");
    for part in
        ["\nmio ", "\nserde_json ", "\nRust standard library ", "\nmusl ", "Rich Felker", "Permission is hereby"]
    {
        assert!(notices.contains(part), "NOTICES does not name {part:?}");
    }
    assert!(!notices.contains("\ncriterion "), "NOTICES names a crate that no executable contains");

    // opkg runs these scripts, which call OpenWrt's functions.
    let functions = r#"default_postinst() { echo "in $2"; }; default_prerm() { echo "out $2"; }"#;
    fs::write(root.0.join("lib/functions.sh"), functions).unwrap();
    for (script, output_text) in [("CONTROL/postinst", "in configure\n"), ("CONTROL/prerm", "out configure\n")] {
        let output =
            environment::program(folder.join(script)).arg("configure").env("IPKG_INSTROOT", &root.0).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), output_text);
        assert!(output.status.success());
    }
}
