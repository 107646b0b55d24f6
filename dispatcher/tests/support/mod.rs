//! A real RTSP server, and the log as a text.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support");

/// GStreamer's RTSP server with a test pattern, as a process of its own.
pub struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts one on a port that is free, and waits until it listens.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        Self::start_at(0, arguments)
    }

    /// Starts one behind a network that loses packets.
    pub fn start_lossy() -> Option<Self> {
        Self::run("lossy_rtsp_server.py", 0, &[])
    }

    /// Starts one on this port; none if that is taken.
    pub fn start_at(port: u16, arguments: &[&str]) -> Option<Self> {
        Self::run("rtsp_server.py", port, arguments)
    }

    fn run(script: &str, port: u16, arguments: &[&str]) -> Option<Self> {
        let mut process = Command::new("/usr/bin/python3")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args([&format!("{SCRIPTS}/{script}"), "--port", &port.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().strip_prefix("ready ").and_then(|port| port.parse().ok()) {
            Some(port) => Some(Self { process, port }),
            None => {
                process.wait().unwrap();
                None
            }
        }
    }

    /// Its camera's URL; `user` is empty, or ends in an `@`.
    pub fn url(&self, user: &str) -> String {
        format!("rtsp://{user}127.0.0.1:{}/camera", self.port)
    }

    /// Lets it hang as it is: connections stand, and nothing comes.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }
}

/// A server on a port that nobody else is given while it is away: below those that the system hands out by itself.
pub fn free_port(arguments: &[&str]) -> (u16, Server) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut ports = std::iter::repeat_with(|| {
        let offset = std::process::id().wrapping_mul(61) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        15_000 + (offset % 15_000) as u16
    });
    let started = ports.find_map(|port| Some((port, Server::start_at(port, arguments)?)));
    started.expect("one of many ports")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything that this process has logged since the first call, in every detail.
pub fn log() -> String {
    struct Log;
    static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            TEXT.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE).with_writer(|| Log).init()
    });
    String::from_utf8_lossy(&TEXT.lock().unwrap()).into_owned()
}
