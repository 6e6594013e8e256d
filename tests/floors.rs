//! The layers of ARCHITECTURE.md. The compiler separates the programs from the library. This test reads the imports of every
//! file inside the library.

use std::fs;
use std::path::{Path, PathBuf};

/// The imports of a part of `src/`. Every part may import itself, `std`, and the entries below.
struct Rule {
    /// A directory or file of `src/`, without `.rs`. The first entry that matches a file is its rule.
    part: &'static str,
    /// Parts of the library.
    ours: &'static [&'static str],
    /// Crates.
    crates: &'static [&'static str],
    /// Forbidden parts of `std`.
    never: &'static [&'static str],
}

/// The parts of `std` with side effects: the clock, files, sockets and threads.
const CLOCKS: &str = "std::time::Instant";
const SOCKETS: [&str; 8] = [
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
];
const PURE: [&str; 10] = [
    CLOCKS,
    "std::time::SystemTime",
    "std::io",
    SOCKETS[0],
    SOCKETS[1],
    SOCKETS[2],
    SOCKETS[3],
    SOCKETS[4],
    SOCKETS[5],
    SOCKETS[6],
];

const RULES: [Rule; 14] = [
    // Floor 0
    Rule {
        part: "proto",
        ours: &["blocks", "closed_list"],
        crates: &["serde", "serde_json", "memchr", "slab"],
        never: &PURE,
    },
    // Its macro names the trait by the crate's root.
    Rule { part: "closed_list", ours: &["ClosedList"], crates: &[], never: &PURE },
    Rule { part: "byte_size", ours: &[], crates: &[], never: &PURE },
    Rule { part: "blocks", ours: &[], crates: &["memmap2"], never: &PURE },
    Rule { part: "tick", ours: &[], crates: &[], never: &SOCKETS },
    Rule { part: "wheel", ours: &["tick"], crates: &["slab"], never: &PURE },
    Rule { part: "endpoint", ours: &[], crates: &[], never: &SOCKETS },
    // Layer 1
    Rule { part: "connection", ours: &["proto", "tick"], crates: &["memchr"], never: &PURE },
    // The table of contents for a device.
    Rule { part: "device", ours: &["proto", "connection"], crates: &["pulsegate"], never: &PURE },
    // Floor 2
    Rule {
        part: "gateway",
        ours: &["proto", "tick", "wheel", "endpoint", "connection", "closed_list", "byte_size"],
        crates: &["slab", "log"],
        never: &SOCKETS,
    },
    // Layer 3
    Rule {
        part: "reactor/system",
        ours: &["endpoint", "reactor"],
        crates: &["mio", "nix", "log"],
        never: &["std::thread"],
    },
    Rule {
        part: "reactor",
        ours: &["endpoint"],
        crates: &["nix", "log"],
        never: &["std::os", "std::fs", "std::thread"],
    },
    // Layer 4
    Rule { part: "server", ours: &["endpoint", "gateway", "reactor"], crates: &["nix"], never: &["std::thread"] },
    // Layer 5
    Rule {
        part: "bin",
        ours: &[],
        crates: &[
            "pulsegate",
            "crc32fast",
            "hdrhistogram",
            "httparse",
            "humantime",
            "lexopt",
            "listenfd",
            "log",
            "memchr",
            "mqtt_protocol_core",
            "nix",
            "serde",
            "serde_json",
            "signal_hook",
            "simplelog",
            "slab",
            "toml",
        ],
        never: &[],
    },
];

#[test]
fn every_part_imports_only_its_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let crates = crates();
    let (mut files, mut broken) = (Vec::new(), Vec::new());
    walk(&src, &mut files);
    assert!(files.len() > 20, "only {} files found in {}", files.len(), src.display());
    for file in files {
        let name = file.strip_prefix(&src).expect("a file of src").to_path_buf();
        // These files import everything for their re-exports.
        if name == Path::new("lib.rs") || name == Path::new("unstable.rs") {
            continue;
        }
        let within = |rule: &&Rule| name.starts_with(rule.part) || name == Path::new(rule.part).with_extension("rs");
        let Some(rule) = RULES.iter().find(within) else {
            broken.push(format!("src/{}: no rule in tests/floors.rs says what it may use", name.display()));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a readable file");
        for (line, fault) in faults(&text, rule, &crates) {
            broken.push(format!("src/{}:{line}: {fault}", name.display()));
        }
    }
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}

/// An application must be able to do everything that the daemon does.
#[test]
fn the_daemon_uses_only_the_promised_tier() {
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/pulsegate"), &mut files);
    let is_test = |file: &Path| file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests");
    // A service beside the gateway is an endpoint of its own on the reactor.
    let is_service =
        |file: &Path| file.components().any(|part| part.as_os_str() == "mqtt" || part.as_os_str() == "web");
    for file in files.iter().filter(|file| !is_test(file) && !is_service(file)) {
        let text = strip(&fs::read_to_string(file).expect("a readable file"));
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains("pulsegate::unstable"), "{} uses pulsegate::unstable", file.display());
    }
}

/// Proves that the test finds broken rules.
#[test]
fn the_test_finds_a_broken_rule_anywhere() {
    let crates = ["mio", "serde_json", "log"].map(str::to_owned);
    let check = |part: &str, text: &str, expected: &[&str]| {
        let rule = RULES.iter().find(|rule| rule.part == part).expect("a part");
        let found: Vec<_> = faults(text, rule, &crates).into_iter().map(|(line, f)| format!("{line}: {f}")).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("proto", "use std::fmt;\nuse crate::proto::json;\nuse serde_json::Value;", &[]);
    check("proto", "use crate::tick::Tick;", &["1: proto may not use crate::tick"]);
    check("proto", "\nuse std::{fmt, io};", &["2: proto may not use std::io"]);
    check("proto", "use std::time::{Duration, Instant};", &["1: proto may not use std::time::Instant"]);
    check("proto", "// mio::Token\nlet s = \"mio::Token\";", &[]);
    check("proto", "#[cfg(test)]\nmod tests { use std::io; }", &[]);
    check("gateway", "fn f(t: mio::Token) {}", &["1: gateway may not use mio"]);
    check(
        "gateway",
        "use crate::{\n    proto::Kind,\n    reactor::Io,\n};",
        &["3: gateway may not use crate::reactor"],
    );
    check("connection", "use super::super::endpoint::PacketInfo;", &["1: connection may not use super::super"]);
    check("reactor", "let c = crate::gateway::Core::new();", &["1: reactor may not use crate::gateway"]);
    check("reactor", "use mio::Token;", &["1: reactor may not use mio"]);
    check("reactor/system", "use mio::Token;", &[]);
    check("server", "pub fn f() -> mio::Token {}", &["1: server may not use mio"]);
    check("bin", "use crate::options;\nuse pulsegate::Server;", &[]);
    check("bin", "use mio::Poll;", &["1: bin may not use mio"]);
}

/// Returns line and text of every broken rule. Tests at the end of a file may import everything.
fn faults(text: &str, rule: &Rule, crates: &[String]) -> Vec<(usize, String)> {
    let code = strip(text);
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, path) in paths(code) {
        let line = code[..at].matches('\n').count() + 1;
        let mut steps = path.split("::");
        let (head, next) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
        let named = match head {
            "crate" if rule.part == "bin" || next == rule.part || rule.ours.contains(&next) => continue,
            "crate" => format!("crate::{next}"),
            "super" if next == "super" && rule.part != "bin" => "super::super".to_owned(),
            "std" | "core" | "alloc" => {
                let path = path.replacen(head, "std", 1);
                let hit = rule.never.iter().find(|never| path == **never || path.starts_with(&format!("{never}::")));
                let Some(never) = hit else { continue };
                (*never).to_owned()
            }
            _ if !crates.iter().any(|name| name == head) || rule.crates.contains(&head) => continue,
            _ => head.to_owned(),
        };
        found.push((line, format!("{} may not use {named}", rule.part)));
    }
    found
}

/// Returns every path of two or more segments with its end, with groups in braces expanded.
fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let bytes = code.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    // The prefix of each open group: a path in a `use`, or nothing in a block.
    let mut groups: Vec<String> = Vec::new();
    let (mut at, mut path) = (0, String::new());
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        path.push_str(&code[start..at]);
        if code[at..].starts_with("::") {
            path.push_str("::");
            at += 2;
            if bytes.get(at) == Some(&b'{') {
                groups.push(groups.last().cloned().unwrap_or_default() + &path);
                path.clear();
                at += 1;
            }
            continue;
        }
        if !path.is_empty() {
            let whole = groups.last().cloned().unwrap_or_default() + &path;
            if whole.contains("::") {
                found.push((start, whole));
            }
            path.clear();
        }
        match bytes.get(at) {
            Some(b'{') => groups.push(String::new()),
            Some(b'}') => drop(groups.pop()),
            _ => {}
        }
        at += code[at..].chars().next().map_or(1, char::len_utf8);
    }
    found
}

/// Returns the code without comments and strings, with the same lines.
fn strip(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        let (mut quoted, mut escaped) = (false, false);
        let bytes = line.as_bytes();
        for (at, c) in line.char_indices() {
            let is_char = c == '"' && at > 0 && bytes[at - 1] == b'\'' && bytes.get(at + 1) == Some(&b'\'');
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' if !is_char => quoted = !quoted,
                '/' if !quoted && line[at..].starts_with("//") => break,
                _ if quoted => {}
                _ => code.push(c),
            }
        }
        code.push('\n');
    }
    code
}

/// Returns the crates of the manifest, as code writes their names.
fn crates() -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("a manifest");
    let section = manifest.split("[dependencies]\n").nth(1).expect("dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['=', ' ']).next()).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| name.replace('-', "_")).collect();
    names.push("pulsegate".to_owned());
    names
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
