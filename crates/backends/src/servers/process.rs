//! A server's process.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Longer than any of them takes to start on a busy machine.
const START: Duration = Duration::from_secs(90);
/// Runs a server in a process group of its own, until the pipe to it breaks: however a test process ends, its servers end too,
/// and their directories go. Through the pipe it is told to kill the server, to start it again, and signals for it.
const GUARD: &str = r#"set -m
dir=$1; shift
run() { "$@" </dev/null >>"$dir/log" 2>&1 & server=$!; killed=; }
run "$@"
while :; do
  IFS= read -rt 1 word; heard=$?
  # Reading times out as long as the pipe is whole.
  if [ $heard -gt 128 ]; then [ -n "$killed" ] || kill -0 $server || break
  elif [ $heard -gt 0 ]; then break
  elif [ "$word" = start ]; then run "$@"
  else [ "$word" != KILL ] || killed=1; kill -s "$word" -- -$server
  fi
done 2>/dev/null
# Some leave something behind in the system unless they may end by themselves.
kill -QUIT -- -$server 2>/dev/null
for _ in {1..50}; do kill -0 $server 2>/dev/null || break; sleep 0.1; done
kill -9 -- -$server 2>/dev/null
rm -rf "$dir""#;

/// A server, its directory, and what ends both with its owner.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    guard: Child,
    dir: PathBuf,
}

impl Process {
    /// Starts a program with its arguments and with more in its environment, in `dir`, which is the server's from now on.
    pub(super) fn start(name: &'static str, command: &[&Path], environment: &[(&str, String)], dir: &Path) -> Self {
        let mut guard = Command::new("bash");
        guard.args(["-c", GUARD, "guard"]).arg(dir).args(command).envs(environment.iter().cloned());
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { name, guard, dir: dir.to_owned() }
    }

    /// Waits until it answers.
    pub(super) async fn until(&mut self, mut answers: impl AsyncFnMut() -> bool) {
        let begun = tokio::time::Instant::now();
        while !answers().await {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let ended = self.guard.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < START, "{} did not start ({ended:?}):\n{log}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Process {
    /// Kills the server as it is; its directory stays.
    pub(super) fn kill(&self) {
        self.tell("KILL");
    }

    /// Starts it again after it was killed.
    pub(super) fn start_again(&self) {
        self.tell("start");
    }

    /// Lets it hang as it is: connections stand, and nothing comes.
    pub(super) fn freeze(&self) {
        self.tell("STOP");
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        self.tell("CONT");
    }

    fn tell(&self, word: &str) {
        let mut pipe = self.guard.stdin.as_ref().unwrap();
        pipe.write_all(format!("{word}\n").as_bytes()).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        _ = self.guard.wait();
    }
}

/// The first of these files that is there; none fails the test, with the command that brings the server.
pub(super) fn installed(name: &str, places: &[PathBuf], brought_by: &str) -> PathBuf {
    let found = places.iter().find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed (none of {places:?}): run `{brought_by}`")).clone()
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A port that nobody is given while its server is away: below those that the system hands out by itself.
pub(super) fn port_to_keep() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut ports = std::iter::repeat_with(|| {
        let offset = std::process::id().wrapping_mul(61) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        15_000 + (offset % 15_000) as u16
    });
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}

/// Whether somebody listens there.
pub(super) async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.is_ok()
}
