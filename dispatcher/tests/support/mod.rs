//! A real RTSP server, and the log as a text.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/rtsp_server.py");

/// GStreamer's RTSP server with a test pattern, as a process of its own.
pub struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts one on a port that is free, and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new("/usr/bin/python3")
            .arg(SCRIPT)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.next().expect("the server ended").unwrap();
        let port = ready.strip_prefix("ready ").and_then(|port| port.parse().ok()).expect("a port");
        Self { process, port }
    }

    /// Its camera's URL; `user` is empty, or ends in an `@`.
    pub fn url(&self, user: &str) -> String {
        format!("rtsp://{user}127.0.0.1:{}/camera", self.port)
    }

    /// Lets it hang as it is: connections stand, and nothing comes.
    pub fn freeze(&self) {
        let command = format!("kill -STOP {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }
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
