//! Cameras and servers that misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What a server does with whoever connects.
pub enum Answer {
    /// Nothing, ever.
    Nothing,
    /// 401, in this protocol's words.
    Unauthorized(&'static str),
    /// A stream without a length; after it nothing, and the connection stands.
    Hangs(Vec<u8>),
    /// A file of which nothing comes from this byte on.
    BreaksOff(Vec<u8>, usize),
}

/// Starts a server that answers until the test ends, and says where it is: `host:port`.
pub fn serve(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            std::thread::spawn(move || {
                // The other side may leave at any time.
                _ = talk(stream, &answer);
            });
        }
    });
    address
}

fn talk(mut stream: TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut sequence, mut from) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(number) = line.strip_prefix("cseq:") {
                sequence = format!("CSeq:{number}\r\n");
            }
            if let Some(range) = line.strip_prefix("range: bytes=") {
                from = range.split('-').next().and_then(|from| from.parse().ok()).unwrap_or(0);
            }
        }
        match answer {
            Answer::Nothing => std::thread::park(),
            Answer::Unauthorized(protocol) => {
                let challenge = "WWW-Authenticate: Digest realm=\"camera\", nonce=\"00ff\"\r\nContent-Length: 0";
                write!(stream, "{protocol} 401 Unauthorized\r\n{sequence}{challenge}\r\n\r\n")?;
            }
            Answer::Hangs(body) => {
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                let (first, rest) = body.split_at(body.len() / 2);
                stream.write_all(first)?;
                std::thread::sleep(Duration::from_secs(3));
                stream.write_all(rest)?;
                std::thread::park();
            }
            Answer::BreaksOff(body, at) => {
                let (last, total) = (body.len() - 1, body.len());
                let head = format!("Content-Range: bytes {from}-{last}/{total}\r\nContent-Length: {}", total - from);
                write!(stream, "HTTP/1.1 206 Partial Content\r\n{head}\r\nConnection: close\r\n\r\n")?;
                return stream.write_all(&body[from.min(*at)..*at]);
            }
        }
    }
}
