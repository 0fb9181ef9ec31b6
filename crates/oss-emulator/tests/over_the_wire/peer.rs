//! A client on a raw socket: it signs, sends what it is told, and keeps every byte it gets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oss_emulator::{EmulatorServer, Options};
use oss_protocol::encoding::{encode_path, write_query};
use oss_protocol::http1::{BodyFraming, ChunkedDecoder, Limits, parse_response_head, write_request_head};
use oss_protocol::sign::{RequestParts, Signer};
use oss_protocol::time::UtcTime;
use serde_json::Value;

/// A test that waits longer than this for the emulator has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, head and body.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands in the first element of that name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside.to_owned())
    }

    /// What stands in all elements of that name.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        let parts = text.split(&open).skip(1);
        parts.map(|part| part.split(&close).next().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

/// A request in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) bucket: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a [u8],
    pub(crate) unsigned: bool,
}

impl<'a> Ask<'a> {
    pub(crate) fn on(method: &'a str, bucket: &'a str, key: &'a str) -> Self {
        let key = (!key.is_empty()).then_some(key);
        Self { method, bucket: Some(bucket), key, ..Self::default() }
    }

    pub(crate) fn query(mut self, name: &'a str, value: &'a str) -> Self {
        self.query.push((name, value));
        self
    }

    pub(crate) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn unsigned(mut self) -> Self {
        self.unsigned = true;
        self
    }
}

/// An emulator and one connection to it.
pub(crate) struct Peer {
    pub(crate) server: EmulatorServer,
    pub(crate) stream: TcpStream,
    pub(crate) signer: Signer,
    pub(crate) clock_shift: i64,
    buffer: Vec<u8>,
}

impl Peer {
    /// Starts an emulator in memory with a bucket `bkt`.
    pub(crate) fn start() -> Self {
        Self::with(Options { buckets: vec!["bkt".to_owned()], ..Options::default() })
    }

    pub(crate) fn with(options: Options) -> Self {
        let server = EmulatorServer::start(options).unwrap();
        let signer = Signer::new(server.credentials(), server.region());
        let stream = connect(&server);
        Self { server, stream, signer, clock_shift: 0, buffer: Vec::new() }
    }

    pub(crate) fn with_rules(rules: Value) -> Self {
        let peer = Self::start();
        peer.server.set_rules(rules).unwrap();
        peer
    }

    /// Asks the control port.
    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let endpoint = self.server.control_endpoint();
        let mut stream = TcpStream::connect(endpoint.split_once("://").unwrap().1).unwrap();
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap())
    }

    /// Makes the emulator accept a further key.
    pub(crate) fn accept(&self, keys: &Value) {
        assert_eq!(self.control("POST", "/_emulator/credentials", keys).0, 200);
    }

    /// Shapes all connections.
    pub(crate) fn shape(&self, shape: &Value) {
        assert_eq!(self.control("POST", "/_emulator/shape", shape).0, 200);
    }

    /// Opens a fresh connection in the place of the old one.
    pub(crate) fn reconnect(&mut self) {
        self.stream = connect(&self.server);
        self.buffer.clear();
    }

    /// Asks and gets a whole answer.
    pub(crate) fn ask(&mut self, ask: &Ask<'_>) -> Reply {
        self.try_ask(ask).unwrap()
    }

    pub(crate) fn try_ask(&mut self, ask: &Ask<'_>) -> Result<Reply, String> {
        let head = self.head(ask);
        self.stream.write_all(&head).map_err(|e| e.to_string())?;
        self.stream.write_all(ask.body).map_err(|e| e.to_string())?;
        self.reply(ask.method)
    }

    /// Puts an object with this content.
    pub(crate) fn put(&mut self, key: &str, body: &[u8]) -> Reply {
        let reply = self.ask(&Ask::on("PUT", "bkt", key).body(body));
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply
    }

    pub(crate) fn get(&mut self, key: &str) -> Reply {
        self.ask(&Ask::on("GET", "bkt", key))
    }

    /// The signed head of a request, path style.
    pub(crate) fn head(&self, ask: &Ask<'_>) -> Vec<u8> {
        let length = ask.body.len().to_string();
        let mut headers = vec![("Host", "127.0.0.1")];
        let has_body = !ask.body.is_empty() || matches!(ask.method, "PUT" | "POST");
        let own = |name: &str| ask.headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        if has_body && !own("content-length") && !own("transfer-encoding") && !own("x-no-length") {
            headers.push(("Content-Length", &length));
        }
        headers.extend(ask.headers.iter().filter(|(name, _)| *name != "x-no-length"));
        let (bucket, key) = (ask.bucket, ask.key);
        let parts = RequestParts { method: ask.method, bucket, key, query: &ask.query, headers: &headers };
        let signed = self.signer.sign_headers(&parts, &[], UtcTime(unix_seconds() + self.clock_shift));
        if !ask.unsigned {
            headers.extend(signed.headers_to_add.iter().map(|(name, value)| (*name, value.as_str())));
        }
        let bucket = bucket.map(|bucket| format!("/{bucket}")).unwrap_or_default();
        let path = format!("{bucket}/{}", encode_path(key.unwrap_or_default()));
        let query = write_query(&ask.query);
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let mut head = Vec::new();
        write_request_head(&mut head, ask.method, &target, headers).unwrap();
        head
    }

    /// Reads an answer; the error says how it was cut.
    pub(crate) fn reply(&mut self, method: &str) -> Result<Reply, String> {
        let limits = Limits::default();
        let (status, headers, framing, size) = loop {
            if let Some((head, size)) =
                parse_response_head(&self.buffer, &limits).map_err(|e| e.to_string())?
            {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let headers: Vec<(String, String)> =
                    head.headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
                let framing = head.framing(method).map_err(|error| error.to_string())?;
                if head.status != 100 {
                    break (head.status, headers, framing, size);
                }
                self.buffer.drain(..size);
                continue;
            }
            self.more().map_err(|error| format!("head: {error}"))?;
        };
        self.buffer.drain(..size);
        let body = self.body(framing)?;
        Ok(Reply { status, headers, body })
    }

    fn body(&mut self, framing: BodyFraming) -> Result<Vec<u8>, String> {
        match framing {
            BodyFraming::None => Ok(Vec::new()),
            BodyFraming::Length(size) => {
                let size = usize::try_from(size).unwrap();
                while self.buffer.len() < size {
                    let have = self.buffer.len();
                    self.more().map_err(|error| format!("body after {have} bytes: {error}"))?;
                }
                Ok(self.buffer.drain(..size).collect())
            }
            BodyFraming::Chunked => self.chunked(),
            BodyFraming::UntilClose => {
                while self.more().is_ok() {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    fn chunked(&mut self) -> Result<Vec<u8>, String> {
        let mut decoder = ChunkedDecoder::new(&Limits::default());
        let mut body = Vec::new();
        while !decoder.is_done() {
            if self.buffer.is_empty() {
                self.more().map_err(|error| format!("chunk: {error}"))?;
            }
            let step = decoder.step(&self.buffer).map_err(|error| error.to_string())?;
            body.extend_from_slice(step.data);
            let consumed = step.consumed;
            self.buffer.drain(..consumed);
        }
        Ok(body)
    }

    /// Reads what comes next, whatever it is; an end is `UnexpectedEof`.
    pub(crate) fn more(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let count = loop {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.extend_from_slice(&bytes[..count]);
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Waits for the "100 Continue" that the service sends when it begins to take a body.
    pub(crate) fn await_continue(&mut self) {
        while !self.buffer.ends_with(b"\r\n\r\n") {
            self.more().unwrap();
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 100 "));
        self.buffer.clear();
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more().is_ok() {}
        std::mem::take(&mut self.buffer)
    }

    /// The entries of the journal that are requests (or changes).
    pub(crate) fn journal(&self) -> Vec<Value> {
        self.server.journal(0)["entries"].as_array().cloned().unwrap_or_default()
    }

    /// The changes of the journal, in order, as `put key`.
    pub(crate) fn changes(&self) -> Vec<String> {
        let entries = self.journal();
        let changes = entries.iter().filter(|entry| entry["change"].is_string());
        changes
            .map(|entry| format!("{} {}", entry["change"].as_str().unwrap(), entry["key"].as_str().unwrap()))
            .collect()
    }
}

fn connect(server: &EmulatorServer) -> TcpStream {
    let address = server.endpoint();
    let stream = TcpStream::connect(address.split_once("://").unwrap().1).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[expect(clippy::disallowed_methods, reason = "a client signs with its own clock")]
pub(crate) fn unix_seconds() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
