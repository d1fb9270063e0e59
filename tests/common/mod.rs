//! What all tests of the command line share: a folder of their own, the built program in it, and small funnels to train on.

// Every test file is a crate of its own and uses a part of this.
#![allow(dead_code, clippy::unwrap_used)]

pub mod http;
pub mod log;
pub mod table;

use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Folder of the project.
pub const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// Makes a shipped, synthetic funnel small.
pub const SMALL: &str =
    "--set data.source.rows=20000 --set defaults.tower.hidden=[8] --set embedding.dim=4 --set train.batch_rows=256 --set train.epochs=2";

/// A folder that goes when the test ends, and the program run inside it.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    /// With the generated log of [`log`] in three files, and a spec over them, `log.toml`.
    pub fn with_log() -> Self {
        let sandbox = Self::new();
        log::write(&sandbox);
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }
    /// A JSON object a line.
    pub fn lines(&self, name: &str) -> Vec<Value> {
        self.text(name).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
    /// Every file below a folder, by its path in it, with its bytes; sorted.
    pub fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        fn walk(at: &Path, root: &Path, found: &mut Vec<(String, Vec<u8>)>) {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, found);
                } else {
                    found.push((path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap()));
                }
            }
        }
        let (root, mut found) = (self.path(folder), Vec::new());
        walk(&root, &root, &mut found);
        found.sort();
        found
    }
    /// The folder of a run's checkpoint, by its place in the index: `latest`, `best` or `final`.
    pub fn checkpoint(&self, run: &str, which: &str) -> String {
        let index = self.json(&format!("{run}/checkpoints/index.json"));
        format!("{run}/checkpoints/{}", index[which].as_str().unwrap())
    }

    /// The program, not started yet. `args` are parted at blanks.
    pub fn command(&self, args: &str) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_esmm-funnel")), args.split_whitespace())
    }
    /// A shell script; in it `$esmm` is the program.
    pub fn shell(&self, script: &str) -> Ran {
        let mut shell = self.prepared(Command::new("sh"), ["-c", script]);
        Ran::of(self, script, &shell.env("esmm", env!("CARGO_BIN_EXE_esmm-funnel")).output().unwrap())
    }
    fn prepared<'a>(&self, mut command: Command, args: impl IntoIterator<Item = &'a str>) -> Command {
        command.args(args).current_dir(self.dir.path()).env("NO_COLOR", "1").env_remove("RUST_BACKTRACE").env_remove("ESMM_FUNNEL_LOG");
        command.stdin(Stdio::null());
        command
    }
    /// Runs the program to its end.
    pub fn run(&self, args: &str) -> Ran {
        Ran::of(self, args, &self.command(args).output().unwrap())
    }
    /// Runs it, and expects exit code 0.
    pub fn ok(&self, args: &str) -> Ran {
        self.run(args).exits(0)
    }
    /// Runs it, and expects exit code 2 and one clear message; gives that message.
    pub fn fails(&self, args: &str) -> String {
        self.run(args).complains()
    }
    /// Starts it in the background.
    pub fn spawn(&self, args: &str) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
    /// Waits for what [`Self::spawn`] started.
    pub fn wait(&self, child: Child) -> Ran {
        Ran::of(self, "", &child.wait_with_output().unwrap())
    }
}

/// What a run of the program gave. Paths of this machine read `[temp]` and `[project]`.
pub struct Ran {
    pub args: String,
    pub stdout: String,
    pub stderr: String,
    /// `None`: ended by a signal.
    pub code: Option<i32>,
}

impl Ran {
    fn of(sandbox: &Sandbox, args: &str, output: &Output) -> Self {
        let temp = sandbox.dir.path().display().to_string();
        let neutral = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap().replace(&temp, "[temp]").replace(PROJECT, "[project]");
        let args = args.replace(PROJECT, "[project]").replace(SMALL, "[small]");
        Self { args, stdout: neutral(&output.stdout), stderr: neutral(&output.stderr), code: output.status.code() }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }
    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self}"))
    }
    /// Expects a failure that a user can act on, and gives its text.
    #[track_caller]
    pub fn complains(self) -> String {
        assert_eq!(self.code, Some(2), "{self}");
        assert_eq!(self.stdout, "", "a failure has no answer\n{self}");
        let errors = self.stderr.lines().filter(|l| l.starts_with("error: ")).count();
        assert_eq!(errors, 1, "one message, not {errors}\n{self}");
        for ugly in ["panicked", "internal fault", "stack backtrace", "RUST_BACKTRACE", "Some(", "Err("] {
            assert!(!self.stderr.contains(ugly), "`{ugly}` in {self}");
        }
        self.stderr
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "signal".into(), |c| c.to_string());
        write!(
            f,
            "$ esmm-funnel {}\nexit: {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.args,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// What differs from machine to machine, and what stands in its place.
pub const FILTERS: [(&str, &str); 5] = [
    (r"[\d.]+[kM]? rows/s", "[rate] rows/s"),
    (r"trained in [\d.]+ s", "trained in [time] s"),
    (r"eta \d+:\d\d", "eta [time]"),
    (r"\d{8}-\d{6}-[0-9a-f]{4}", "[time]-[id]"),
    (r"about [\d.]+ [KMG]iB of memory", "about [bytes] of memory"),
];

/// Takes the part after `from` of a text.
#[track_caller]
pub fn after<'a>(text: &'a str, from: &str) -> &'a str {
    text.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {text}")).1
}

/// Asserts that a message has each of these.
#[track_caller]
pub fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in:\n{message}");
    }
}

/// A snapshot under `tests/snapshots` of stdout, stderr and exit code; `INSTA_UPDATE=always` rewrites it.
#[macro_export]
macro_rules! snapshot {
    ($name:expr, $ran:expr $(, $more:expr)*) => {
        insta::with_settings!({ filters => $crate::common::FILTERS.into_iter()$(.chain($more))*, omit_expression => true, prepend_module_to_snapshot => true }, {
            insta::assert_snapshot!($name, $ran.to_string());
        })
    };
}
