//! A temporary folder, the program run in it, and rows to run it on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_esmm-funnel");

/// A folder of its own for a test.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }
    /// The program with these arguments, split at spaces.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args.split(' ').filter(|a| !a.is_empty())).current_dir(self.path()).stdin(Stdio::null());
        command.env_remove("RUST_BACKTRACE").env_remove("ESMM_FUNNEL_LOG").env("NO_COLOR", "1");
        command
    }
    pub fn run(&self, args: &str) -> Done {
        Done::of(self.command(args).output().unwrap())
    }
    /// Runs it, and expects it to succeed.
    pub fn ok(&self, args: &str) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args}\n{}\n{}", done.stdout, done.stderr);
        done
    }
    /// Runs it, expects exit code 2 and no panic, and gives stderr.
    pub fn fails(&self, args: &str) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(2), "{args}\n{}\n{}", done.stdout, done.stderr);
        assert!(!done.stderr.contains("panicked") && !done.stderr.contains("internal fault"), "{}", done.stderr);
        done.stderr
    }
    /// The folder of the only kept step under `run/checkpoints`.
    pub fn checkpoint(&self, run: &str) -> PathBuf {
        let index: serde_json::Value = self.json(&format!("{run}/checkpoints/index.json"));
        self.file(run).join("checkpoints").join(index["latest"].as_str().unwrap())
    }
}

impl Done {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A small funnel over `log.csv`, trained in a moment.
pub const SPEC: &str = r#"
features = "infer"
[funnel]
chain = "impression -> click -> purchase"
[defaults]
tower = { kind = "mlp", hidden = [8] }
[data]
source = { kind = "csv", files = ["log.csv"] }
keys = ["row"]
[train]
batch_rows = 64
epochs = 4
"#;

/// `row,user,item,price,day,click,purchase`: rows whose labels depend on user and item. Deterministic.
pub fn log(rows: usize) -> String {
    let mut out = String::from("row,user,item,price,day,click,purchase\n");
    for row in 0..rows {
        let (user, item) = (hash(row, 1) % 40, hash(row, 2) % 30);
        let click = hash(row, 3) % 100 < 20 + user / 2 + item;
        let purchase = click && hash(row, 4) % 100 < 10 + item * 2;
        let price = (hash(item, 5) % 1000) as f64 / 10.0 + 0.05;
        writeln!(out, "{row},u{user},{item},{price},{},{},{}", row * 10 / rows, u8::from(click), u8::from(purchase)).unwrap();
    }
    out
}
/// A hashed number.
pub fn hash(value: usize, salt: usize) -> usize {
    let mut x = (value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 31;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((x ^ (x >> 29)) >> 8).unwrap()
}

/// A sandbox with [`SPEC`] as `s.toml` and a log of `rows`.
pub fn with_log(rows: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("log.csv", log(rows));
    sandbox.write("s.toml", SPEC);
    sandbox
}
