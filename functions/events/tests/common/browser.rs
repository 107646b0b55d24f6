//! Headless Chromium, driven over its DevTools protocol through a pipe, and a server for it to look at.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use detektor_runtime::http::{Health, Listen, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::Bed;

/// The API of a bed on a port of its own.
pub struct Served {
    pub address: String,
    pub bed: Bed,
    task: JoinHandle<()>,
}

impl Served {
    pub async fn new(bed: Bed) -> Self {
        Self::at("127.0.0.1:0", bed).await
    }

    async fn at(address: &str, bed: Bed) -> Self {
        let listen = Listen { address: address.parse().unwrap(), ..Listen::default() };
        let health = Health::new();
        health.check("served").pass();
        let server = Server::bind(&listen, &health, &bed.metrics).await.unwrap().merge(bed.router());
        let wary = bed.api.clone();
        server.wary().show_only(move |parts| wary.admits(parts));
        let address = format!("http://{}", server.address());
        let task = tokio::spawn(server.run(bed.shutdown.clone(), Duration::from_millis(200)));
        Self { address, bed, task }
    }

    /// Shuts down; what was stored stays.
    pub async fn end(self) -> Bed {
        self.bed.shutdown.cancel();
        self.task.await.unwrap();
        self.bed
    }

    /// Serves a bed once more where it was served before.
    pub async fn again(mut bed: Bed, address: &str) -> Self {
        bed.reopen();
        Self::at(address.trim_start_matches("http://"), bed).await
    }
}

/// How big the window is.
#[derive(Clone, Copy)]
pub struct Window {
    pub width: u32,
    pub height: u32,
    pub mobile: bool,
}

pub const DESKTOP: Window = Window { width: 1280, height: 900, mobile: false };
pub const PHONE: Window = Window { width: 390, height: 844, mobile: true };

/// A browser with one page.
pub struct Browser {
    session: Option<String>,
    calls: u64,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What the page complained of: exceptions, and what the console says of errors.
    pub complaints: Vec<String>,
    _child: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts Chromium with a new profile and an empty page, in a dark room.
    pub async fn start(window: Window) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // Chromium reads commands from descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec chromium "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null"#, "chromium"])
            .args(["--remote-debugging-pipe", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args([
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--lang=en-GB",
                "--autoplay-policy=no-user-gesture-required",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser =
            Self { session: None, calls: 0, input, output, complaints: Vec::new(), _child: child, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach).await;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser.color_scheme("dark").await;
        let Window { width, height, mobile } = window;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        browser.call("Emulation.setDeviceMetricsOverride", metrics).await;
        browser.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": mobile })).await;
        browser
    }

    pub async fn color_scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Goes to an address.
    pub async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(opened.get("errorText").is_none(), "{opened}");
    }

    /// What an expression is in the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", params).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub async fn wait(&mut self, expression: &str) {
        for _ in 0..200 {
            // While a page is being left there is nothing to ask.
            let guarded = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
            if self.value(&guarded).await == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let text = self.value("document.body.innerText").await;
        panic!("never true: {expression}\n{}\ncomplaints: {:?}", text.as_str().unwrap_or_default(), self.complaints);
    }

    /// Presses a key, as `Tab` or `Enter`.
    pub async fn key(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            other => panic!("no code for {other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// A picture of the window, kept with the build's files.
    pub async fn picture(&mut self, name: &str) -> PathBuf {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.write_all(&bytes).await.expect("chromium runs: install Debian's package 'chromium'");
        let answer = tokio::time::timeout(Duration::from_secs(60), self.answer(id));
        answer.await.unwrap_or_else(|_| panic!("chromium does not answer to {method}"))
    }

    async fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut bytes = Vec::new();
            let read = self.output.read_until(0, &mut bytes).await.unwrap();
            assert!(read > 0, "chromium has ended, or there is none: install Debian's package 'chromium'");
            bytes.pop();
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == id {
                // Whoever asked a page that is being left has no answer, and asks again.
                if message["error"]["message"] == "Inspected target navigated or closed" {
                    return Value::Null;
                }
                assert!(message.get("error").is_none(), "{}", message["error"]);
                return message["result"].clone();
            }
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => {
                    self.complaints.push(message["params"]["exceptionDetails"].to_string())
                }
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.complaints.push(message["params"]["entry"]["text"].to_string());
                }
                _ => {}
            }
        }
    }
}
