//! A server under test, and just enough of an HTTP client to talk to it, to break off, and to send what no client would.

use super::Sandbox;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The program, serving.
pub struct Server {
    child: Child,
    pub address: String,
    stderr: Arc<Mutex<String>>,
}

impl Server {
    /// `serve ARGS` on a free port, when it answers.
    pub fn start(t: &Sandbox, args: &str) -> Self {
        Self::with(t, args, &[])
    }
    /// With variables of the environment.
    pub fn with(t: &Sandbox, args: &str, variables: &[(&str, &str)]) -> Self {
        let free = if args.contains("--addr") { "" } else { "--addr 127.0.0.1:0" };
        let mut command = t.command(&format!("serve {args} {free}"));
        command.envs(variables.iter().copied()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&stderr));
        std::thread::spawn(move || {
            let mut line = String::new();
            while from.read_line(&mut line).is_ok_and(|n| n > 0) {
                to.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("http://").unwrap_or_else(|| panic!("{first:?}: {}", stderr.lock().unwrap())).to_owned();
        Self { child, address, stderr }
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }
    /// Waits until stderr has this.
    #[track_caller]
    pub fn tells(&self, text: &str) {
        let start = Instant::now();
        while !self.stderr().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(20), "no `{text}` in {}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
    /// Waits for its end; gives the exit code.
    pub fn end(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        // A server that refuses the head does not read the body.
        let _ = stream.write_all(body);
        Answer::read(&mut stream).unwrap_or_else(|| panic!("no answer to {method} {path}; {}", self.stderr()))
    }
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }
    pub fn score(&self, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", "/v1/score", &[("content-type", "application/json")], body.as_ref())
    }
    /// The rows of an answer.
    #[track_caller]
    pub fn rows(&self, body: &Value) -> Vec<Value> {
        self.score(body.to_string()).ok().json()["rows"].as_array().unwrap().clone()
    }
    /// A value of `/metrics`.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").ok().text();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.parse().unwrap()
    }
}
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}
impl Answer {
    /// Up to the end of the connection.
    pub fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head, body: all[end + 4..].to_vec() })
    }
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
    /// Expects a refusal; gives code, message and field.
    #[track_caller]
    pub fn refused(&self, status: u16) -> (String, String, String) {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        let json = self.json();
        let of = |key: &str| json["error"][key].as_str().unwrap_or_default().to_owned();
        (of("code"), of("message"), of("field"))
    }
}
