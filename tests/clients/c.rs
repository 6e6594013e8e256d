//! `clients/c/posix.c` and `clients/c/lwip.c`, in every build that this machine can make.

#[path = "../common/compilers.rs"]
mod compilers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::executable::{Gateway, Process};
use crate::files::{content, give, sha256, take};
use crate::folder::Folder;
use crate::life::{FAST, FILE_BYTES, await_beats, state_after};
use compilers::{SANITIZERS, compile, exists, not_checked};

/// Compiles a program with every compiler, and with its sanitizers. Returns the programs that are to run.
fn builds(name: &str, sources: &[&str], options: &[&str]) -> Vec<PathBuf> {
    let mut programs = Vec::new();
    for compiler in ["gcc", "clang"] {
        if !exists(compiler) {
            not_checked(compiler, compiler);
            continue;
        }
        compile(compiler, name, sources, options);
        programs.push(compile(compiler, &format!("{name}-sanitized"), sources, &[options, &SANITIZERS].concat()));
    }
    assert!(!programs.is_empty(), "no C compiler is installed: install Debian's package gcc");
    programs
}

fn start(program: &Path, arguments: &[&str]) -> Process {
    let output = fs::File::create(program.with_extension("log")).unwrap();
    Process(Command::new(program).args(arguments).stdout(Stdio::null()).stderr(output).spawn().unwrap())
}

/// Fails with the report of the sanitizers.
fn assert_runs(process: &mut Process, program: &Path) {
    let report = fs::read_to_string(program.with_extension("log")).unwrap();
    assert!(process.0.try_wait().unwrap().is_none(), "{} ended: {report}", program.display());
    assert_eq!(report, "", "{}", program.display());
}

#[test]
fn the_posix_device_lives_obeys_moves_files_and_returns() {
    for program in builds("posix", &["clients/c/posix.c"], &[]) {
        let folder = Folder::new("posix");
        fs::write(folder.file("log.bin"), content(FILE_BYTES)).unwrap();
        let mut gateway = Gateway::start("posix", "127.0.0.1:0", "127.0.0.1:0", &FAST);
        let (tcp, udp) = (gateway.tcp, gateway.udp);
        let (tcp_port, udp_port) = (tcp.port().to_string(), udp.port().to_string());
        let directory = folder.path().to_str().unwrap();
        let arguments =
            ["-i", "pump-7", "-d", directory, "-a", "127.0.0.1", "-t", &tcp_port, "-u", &udp_port, "-s", "600"];
        let mut process = start(&program, &arguments);
        assert_eq!(gateway.object("Status")["Id"], "pump-7");
        await_beats(&gateway);
        assert_eq!(state_after(&gateway, "status"), "ready");
        assert_eq!(state_after(&gateway, "open the door"), "unknown command");
        assert_eq!(state_after(&gateway, "offer ../log.bin"), "no such file");

        gateway.send("offer log.bin");
        let (name, bytes) = take(&mut gateway);
        assert_eq!(name, "log.bin");
        assert!(bytes == content(FILE_BYTES), "log.bin arrived with other bytes");

        let firmware = content(FILE_BYTES + 1);
        let ends = give(&mut gateway, "fw.bin", &firmware, &sha256(b"other"));
        assert_eq!(ends, (json!("failed"), json!("sha256")));
        assert!(!folder.file("fw.bin").exists() && !folder.file("fw.bin.part").exists());
        assert_eq!(give(&mut gateway, "fw.bin", &firmware, &sha256(&firmware)).0, "done");
        assert!(fs::read(folder.file("fw.bin")).unwrap() == firmware, "fw.bin arrived with other bytes");
        assert_eq!(give(&mut gateway, "../fw.bin", &firmware, &sha256(&firmware)), (json!("refuse"), json!("name")));
        assert_runs(&mut process, &program);

        drop(gateway);
        let mut gateway = Gateway::start("posix", &tcp.to_string(), &udp.to_string(), &FAST);
        assert_eq!(gateway.object("Status")["Id"], "pump-7", "the device finds a gateway that was restarted");
        assert_runs(&mut process, &program);
    }
}

/// The gateway ends in the middle of a file in each direction. The device continues both with the next gateway.
#[test]
fn the_posix_device_continues_files_after_a_break() {
    let program = &builds("resume", &["clients/c/posix.c"], &[])[0];
    let folder = Folder::new("resume");
    let bytes = content(FILE_BYTES);
    fs::write(folder.file("log.bin"), &bytes).unwrap();
    let mut gateway = Gateway::start("resume", "127.0.0.1:0", "127.0.0.1:0", &FAST);
    let (tcp, udp) = (gateway.tcp, gateway.udp);
    let (tcp_port, udp_port) = (tcp.port().to_string(), udp.port().to_string());
    let directory = folder.path().to_str().unwrap();
    let device = ["-d", directory, "-o", "log.bin", "-a", "127.0.0.1", "-t", &tcp_port, "-u", &udp_port, "-s", "600"];
    let mut process = start(program, &device);
    assert_eq!(gateway.object("File")["Op"], "offer");
    fs::write(folder.file("fw.bin.part"), &bytes[..100_000]).unwrap();

    drop(gateway);
    let mut gateway = Gateway::start("resume", &tcp.to_string(), &udp.to_string(), &FAST);
    assert!(take(&mut gateway).1 == bytes, "the device offers the file again");
    gateway.send(
        &json!({"Type":"File","Op":"offer","Name":"fw.bin","Size":FILE_BYTES,"Sha256":sha256(&bytes)}).to_string(),
    );
    assert_eq!(gateway.object("File")["Offset"], 100_000, "the device asks for the bytes that it lacks");
    assert_eq!(give(&mut gateway, "fw.bin", &bytes, &sha256(&bytes)).0, "done");
    assert!(fs::read(folder.file("fw.bin")).unwrap() == bytes);
    assert_eq!(give(&mut gateway, "fw.bin", &bytes, &sha256(&bytes)).0, "done", "the device has the file");
    assert_runs(&mut process, program);
}

#[test]
fn the_lwip_device_lives_obeys_and_takes_its_firmware() {
    let mut gateway = Gateway::start("lwip", "127.0.0.1:0", "127.0.0.1:0", &FAST);
    let udp = format!("-DCONFIG_PULSEGATE_UDP_PORT={}", gateway.udp.port());
    let tcp = format!("-DCONFIG_PULSEGATE_TCP_PORT={}", gateway.tcp.port());
    let probe = "-DCONFIG_PULSEGATE_PROBE=\"127.0.0.1\"";
    let options = ["-D_POSIX_C_SOURCE=200809L", "-Iclients/c/stand-in", &udp, &tcp, probe];
    for program in builds("lwip", &["clients/c/lwip.c", "clients/c/stand-in/board.c"], &options) {
        let folder = Folder::new("lwip");
        let flash = folder.file("flash");
        let mut process = start(&program, &[flash.to_str().unwrap()]);
        assert_eq!(gateway.object("Status")["Id"], "lwip-1");
        await_beats(&gateway);
        assert_eq!(state_after(&gateway, "status"), "ready");
        let firmware = content(30_001);
        let ends = give(&mut gateway, "other.bin", &firmware, &sha256(&firmware));
        assert_eq!(ends, (json!("refuse"), json!("name")));
        let ends = give(&mut gateway, "firmware.bin", &firmware, &sha256(b"other"));
        assert_eq!(ends, (json!("failed"), json!("sha256")));
        assert_eq!(give(&mut gateway, "firmware.bin", &firmware, &sha256(&firmware)).0, "done");
        assert!(fs::read(&flash).unwrap() == firmware, "the firmware arrived with other bytes");
        assert_runs(&mut process, &program);
        drop(process);
        gateway.event("disconnect");
    }
}
