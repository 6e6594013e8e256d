//! The harness in C: a process of every build answers questions, one a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use crate::compilers::{SANITIZERS, compile, exists, not_checked};

/// One build of `tests/c_client/harness.c` that runs.
pub(crate) struct Harness {
    pub(crate) name: &'static str,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Harness {
    fn start(name: &'static str, mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (questions, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { name, process, questions, answers: BufReader::new(answers) }
    }

    pub(crate) fn ask(&mut self, question: &str) -> String {
        self.ask_all(&[question.to_owned()]).remove(0)
    }

    /// The answers to many questions. A switch between the processes costs more than an answer.
    pub(crate) fn ask_all(&mut self, questions: &[String]) -> Vec<String> {
        let mut answers = Vec::new();
        // A pipe holds this many, so neither side waits for the other.
        for some in questions.chunks(100) {
            self.questions.write_all((some.join("\n") + "\n").as_bytes()).unwrap();
            for question in some {
                let mut answer = String::new();
                self.answers.read_line(&mut answer).unwrap();
                assert!(answer.ends_with('\n'), "{}: the harness ended at {question}", self.name);
                answers.push(answer.trim().to_owned());
            }
        }
        answers
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every build of the harness that this machine can make: its name and the command that runs it.
fn builds() -> &'static [(&'static str, Vec<String>)] {
    static BUILDS: OnceLock<Vec<(&'static str, Vec<String>)>> = OnceLock::new();
    BUILDS.get_or_init(|| {
        let build = |compiler: &str, name: &str, options: &[&str]| {
            compile(compiler, name, &["tests/c_client/harness.c"], options).to_str().unwrap().to_owned()
        };
        let mut all = Vec::new();
        for compiler in ["gcc", "clang"] {
            if exists(compiler) {
                all.push((compiler, vec![build(compiler, "harness", &[])]));
            } else {
                not_checked(compiler, compiler);
            }
        }
        if exists("gcc") {
            all.push(("sanitizers", vec![build("gcc", "sanitized", &SANITIZERS)]));
        }
        if exists("s390x-linux-gnu-gcc") && exists("qemu-s390x") {
            let program = build("s390x-linux-gnu-gcc", "harness", &["-static"]);
            all.push(("big-endian", vec!["qemu-s390x".to_owned(), program]));
        } else {
            not_checked("a big-endian processor", "gcc-s390x-linux-gnu, libc6-dev-s390x-cross and qemu-user");
        }
        assert!(!all.is_empty(), "no C compiler is installed: install Debian's package gcc");
        all
    })
}

/// A process of every build.
pub(crate) fn harnesses() -> Vec<Harness> {
    let start = |(name, command): &(&'static str, Vec<String>)| {
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]);
        Harness::start(name, process)
    };
    builds().iter().map(start).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".to_owned() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
