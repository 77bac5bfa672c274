//! A server that passes everything on to a real one, and lets things go wrong on the way.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::http::{Answer, BODY_MAX, Faults, HttpServer, Request, read_body};

/// An HTTP server between a client and a real server of this machine.
#[derive(Debug)]
pub struct Forwarder {
    /// What goes wrong.
    pub faults: Faults,
    server: HttpServer,
}

impl Forwarder {
    /// Starts on a free port of this machine; whatever comes goes on to `port`.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let faults = Faults::default();
        let server = HttpServer::start(&faults, move |request| {
            forward(port, request)
                .unwrap_or_else(|error| Answer::new(502).body(error.to_string().into_bytes()))
        });
        Self { faults, server }
    }

    /// The port to ask instead of the real one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }
}

/// What speaks of the connection and not of the object, and so is not passed on.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "expect", "keep-alive", "transfer-encoding"];

fn forward(port: u16, request: &Request) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        if name != "content-length" && !OF_THE_CONNECTION.contains(&name.as_str()) {
            head += &format!("{name}: {value}\r\n");
        }
    }
    let size = request.body.len();
    if size > 0 || request.headers.contains_key("content-length") {
        head += &format!("content-length: {size}\r\n");
    }
    head += "connection: close\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    stream.write_all(&request.body)?;
    let mut reader = BufReader::new(stream);
    let mut answer = read_answer_head(&mut reader)?;
    if request.method == "HEAD" {
        return Ok(answer);
    }
    let told = |name: &str| {
        let found = answer.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    // A body is sent as one of a request is, but for one that ends with the connection.
    let as_request = Request {
        headers: ["content-length", "transfer-encoding"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), told(name)?)))
            .collect(),
        ..Request::default()
    };
    answer.body = if as_request.headers.is_empty() && answer.status != 204 {
        let mut body = Vec::new();
        reader.take(BODY_MAX).read_to_end(&mut body)?;
        body
    } else {
        read_body(&mut reader, &as_request)?
    };
    answer.headers.retain(|(name, _)| {
        name != "content-length" && !OF_THE_CONNECTION.contains(&name.as_str())
    });
    Ok(answer)
}

fn read_answer_head(reader: &mut impl BufRead) -> io::Result<Answer> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut answer = Answer::new(status.ok_or(io::ErrorKind::InvalidData)?);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            answer
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        // "Continue" is not yet the answer.
        if answer.status >= 200 {
            return Ok(answer);
        }
    }
}
