//! The scripts' decisions, with the programs that they call played by the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CROSS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cross.sh");

/// A folder for `scripts/cross.sh` with an apt that delivers the compiler of `versions`, one version a download.
struct Registry(PathBuf);

impl Registry {
    fn new(name: &str, versions: &[&str]) -> Self {
        let root = std::env::temp_dir().join(format!("pulsegate-scripts-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("cross/venv")).unwrap();
        fs::write(root.join("versions"), versions.join("\n") + "\n").unwrap();
        let script = fs::read_to_string(CROSS).unwrap();
        let wheels = script.lines().find_map(|line| line.trim().strip_prefix("wheels='")).unwrap();
        fs::write(root.join("cross/venv/complete"), wheels.trim_end_matches('\'')).unwrap();
        let registry = Self(root);
        registry.program(
            "apt-get",
            r#"echo "$*" >>"$0.calls"
               case "$*" in *--download-only*) ;; *) exit 0 ;; esac
               touch "$CROSS_DIR/tool.debs/rustc-web_1_all.deb" "$CROSS_DIR/tool.debs/rust-web-src_1_all.deb""#,
        );
        registry.program(
            "dpkg",
            r#"case $2 in *rustc-web_*) ;; *) exit 0 ;; esac
               version=$(head -n 1 "${0%/bin/dpkg}/versions")
               sed -i 1d "${0%/bin/dpkg}/versions"
               mkdir -p "$3/usr/bin" "$3/usr/lib/x86_64-linux-gnu"
               printf '#!/bin/sh\necho "rustc %s (Debian)"\n' "$version" >"$3/usr/bin/rustc"
               chmod +x "$3/usr/bin/rustc""#,
        );
        registry
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.0.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn fetch(&self) -> (bool, String) {
        let path = format!("{}:{}", self.0.join("bin").display(), std::env::var("PATH").unwrap());
        let mut script = Command::new("sh");
        script.args([CROSS, "--fetch"]).env("PATH", path).env("CROSS_DIR", self.0.join("cross"));
        let Output { status, stderr, .. } = script.output().unwrap();
        (status.success(), String::from_utf8(stderr).unwrap())
    }

    fn downloads(&self) -> usize {
        let calls = fs::read_to_string(self.0.join("bin/apt-get.calls")).unwrap_or_default();
        let own_lists = format!("Dir::State::Lists={}", Path::new(&self.0).join("cross/apt/lists").display());
        assert!(calls.lines().all(|call| call.contains(&own_lists)), "apt used the system's lists:\n{calls}");
        calls.lines().filter(|call| call.contains("--download-only")).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn cross_fetches_tools_once_and_an_outdated_compiler_again() {
    let registry = Registry::new("outdated", &["1.85.0", "1.96.0"]);
    let (good, log) = registry.fetch();
    assert!(good, "{log}");
    assert!(log.contains("is '1.85.0', and Cargo.toml asks for 1.88"), "{log}");
    assert_eq!(registry.downloads(), 2);
    assert_eq!(registry.fetch(), (true, String::new()), "a complete folder needs no network");
    assert_eq!(registry.downloads(), 2);
}

#[test]
fn cross_says_what_to_do_where_debian_has_no_new_enough_compiler() {
    let registry = Registry::new("too-old", &["1.85.0", "1.85.0"]);
    let (good, log) = registry.fetch();
    assert!(!good, "{log}");
    assert!(log.contains("expected rustc-web 1.88 or later, Debian's is '1.85.0': add bookworm-security"), "{log}");
}
