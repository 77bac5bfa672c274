//! An HTTP/1.1 server for tests: a thread a connection, bodies in memory, faults by script.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// Largest body that is taken.
pub(super) const BODY_MAX: u64 = 256 << 20;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// This status instead of the service's answer, with a Retry-After in seconds.
    Status(u16, Option<u32>),
    /// This status with this body.
    Answer(u16, String),
    /// The connection ends after so many bytes of the request's body; nothing is done.
    CutRequest(usize),
    /// The request is carried out, and the connection ends after so many bytes of the answer's
    /// body.
    CutAnswer(usize),
    /// The request is carried out, and the answer is lost: the connection ends before it.
    LoseAnswer,
    /// One byte of the request's body is changed on its way.
    FlipByte,
    /// One byte of the answer's body is changed on its way.
    FlipAnswer,
}

/// A trouble and the requests that it befalls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A part of the path or of the operation's name.
    pub on: String,
    /// How many such requests go well first.
    pub skip: u32,
    /// How many fail then.
    pub times: u32,
    /// How.
    pub trouble: Trouble,
}

/// The script of faults, and the count of requests. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    faults: Vec<Fault>,
    counts: BTreeMap<String, u64>,
}

impl Faults {
    /// The next request with `on` in its path fails so, once.
    pub fn next(&self, on: &str, trouble: Trouble) {
        self.add(Fault {
            on: on.to_owned(),
            skip: 0,
            times: 1,
            trouble,
        });
    }

    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.script().faults.push(fault);
    }

    /// Forgets all faults.
    pub fn clear(&self) {
        self.script().faults.clear();
    }

    /// How many requests had this path, without query.
    #[must_use]
    pub fn count(&self, path: &str) -> u64 {
        self.script()
            .counts
            .iter()
            .filter(|(key, _)| key.contains(path))
            .map(|(_, count)| count)
            .sum()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn befall(&self, path: &str) -> Option<Trouble> {
        let mut script = self.script();
        *script.counts.entry(path.to_owned()).or_default() += 1;
        let fault = script
            .faults
            .iter_mut()
            .find(|fault| path.contains(&fault.on) && fault.times > 0)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.trouble.clone())
    }
}

/// A request, read whole.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query as they came.
    pub(super) target: String,
    /// Decoded.
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The values of a form, or of the query.
    pub(super) fn form(&self) -> BTreeMap<String, String> {
        pairs(&String::from_utf8_lossy(&self.body))
    }

    /// The range that is asked for, cut to the size: start and end, the end not included.
    ///
    /// # Errors
    ///
    /// `Err` when it begins behind the end.
    pub(super) fn range(&self, size: usize) -> Result<Option<(usize, usize)>, ()> {
        let Some(range) = self.header("range").strip_prefix("bytes=") else {
            return Ok(None);
        };
        let Some((start, end)) = range.split_once('-') else {
            return Ok(None);
        };
        let Ok(start) = start.parse::<usize>() else {
            return Ok(None);
        };
        let end = end
            .parse::<usize>()
            .map_or(size, |end| end.saturating_add(1).min(size));
        if start >= size {
            Err(())
        } else {
            Ok(Some((start, end.max(start))))
        }
    }
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(super) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status)
            .header("content-type", "application/json")
            .body(value.to_string().into_bytes())
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// Bytes of an object, or the part of them that was asked for.
    pub(super) fn content(request: &Request, bytes: &[u8]) -> Self {
        Self::part_of(request, bytes.len(), |start, end| {
            bytes[start..end].to_vec()
        })
    }

    /// The same, of an object of `size` bytes of which `part` gives those from a start to an end.
    pub(super) fn part_of(
        request: &Request,
        size: usize,
        part: impl Fn(usize, usize) -> Vec<u8>,
    ) -> Self {
        match request.range(size) {
            Err(()) => Self::new(416).header("content-range", format!("bytes */{size}")),
            Ok(None) => Self::new(200).body(part(0, size)),
            Ok(Some((start, end))) => Self::new(206)
                .header("content-range", format!("bytes {start}-{}/{size}", end - 1))
                .body(part(start, end)),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(super) struct HttpServer {
    pub(super) port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens on a free port and answers with `handle`.
    pub(super) fn start(
        faults: &Faults,
        handle: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback address");
        let port = listener
            .local_addr()
            .expect("a bound listener has an address")
            .port();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, faults, handle) = (Arc::clone(&stop), faults.clone(), Arc::new(handle));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (faults, handle) = (faults.clone(), Arc::clone(&handle));
                std::thread::spawn(move || {
                    // A client that goes away is none of the server's business.
                    let _ = serve(&stream, &faults, &*handle);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            port,
            stop,
            thread: Some(thread),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &TcpStream,
    faults: &Faults,
    handle: &dyn Fn(&Request) -> Answer,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(mut request) = read_head(&mut reader)? else {
            return Ok(());
        };
        let trouble = faults.befall(&request.path);
        if request
            .header("expect")
            .eq_ignore_ascii_case("100-continue")
        {
            (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if let Some(Trouble::CutRequest(count)) = trouble {
            io::copy(&mut reader.by_ref().take(count as u64), &mut io::sink())?;
            return Ok(());
        }
        request.body = read_body(&mut reader, &request)?;
        let answer = match trouble {
            Some(Trouble::Status(status, retry_after)) => {
                let answer = Answer::new(status);
                match retry_after {
                    Some(seconds) => answer.header("retry-after", seconds.to_string()),
                    None => answer,
                }
            }
            Some(Trouble::Answer(status, ref body)) => Answer::new(status)
                .header("content-type", "application/json")
                .body(body.clone().into_bytes()),
            Some(Trouble::FlipByte) => {
                let middle = request.body.len() / 2;
                if let Some(byte) = request.body.get_mut(middle) {
                    *byte ^= 1;
                }
                handle(&request)
            }
            Some(Trouble::FlipAnswer) => {
                let mut answer = handle(&request);
                let middle = answer.body.len() / 2;
                if let Some(byte) = answer.body.get_mut(middle) {
                    *byte ^= 1;
                }
                answer
            }
            _ => handle(&request),
        };
        let sent = match trouble {
            Some(Trouble::LoseAnswer) => return Ok(()),
            Some(Trouble::CutAnswer(count)) => Some(count),
            _ => None,
        };
        write_answer(stream, &request, &answer, sent)?;
        if sent.is_some() || request.header("connection").eq_ignore_ascii_case("close") {
            return Ok(());
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        path: decode(path),
        query: pairs(query),
        ..Request::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(request));
        }
        if let Some((name, value)) = line.split_once(':') {
            request
                .headers
                .insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

pub(super) fn read_body(reader: &mut impl BufRead, request: &Request) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request
        .header("transfer-encoding")
        .eq_ignore_ascii_case("chunked")
    {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            reader
                .by_ref()
                .take(size.min(BODY_MAX))
                .read_to_end(&mut body)?;
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let size: u64 = request.header("content-length").parse().unwrap_or(0);
    reader.take(size.min(BODY_MAX)).read_to_end(&mut body)?;
    if body.len() as u64 == size {
        Ok(body)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn write_answer(
    mut stream: &TcpStream,
    request: &Request,
    answer: &Answer,
    cut: Option<usize>,
) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} Answer\r\ndate: {}\r\n",
        answer.status,
        http_date()
    );
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !answer
        .headers
        .iter()
        .any(|(name, _)| name == "content-length")
        && answer.status != 204
    {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let end = cut.unwrap_or(answer.body.len()).min(answer.body.len());
        stream.write_all(&answer.body[..end])?;
    }
    stream.flush()
}

/// Seconds since 1970.
pub(super) fn now_seconds() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a server tells the time; clients compare it with theirs"
    )]
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// The time as HTTP writes it.
fn http_date() -> String {
    let seconds = now_seconds();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of the year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let names = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ];
    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let index = |value: u64| usize::try_from(value).unwrap_or(0);
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
        weekdays[index(days % 7)],
        day - (153 * month + 2) / 5 + 1,
        names[index(month)],
        era * 400 + year + u64::from(month >= 10),
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
    )
}

/// Pairs of a query or a form, decoded.
fn pairs(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                decode(&name.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        })
        .collect()
}

/// Percent-decodes.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = text
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
