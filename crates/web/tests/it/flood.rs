//! Guests that are slow, many, or have too much to say.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::browser::Served;

/// More than are let in at a time.
const MANY: usize = 300;

/// So long somebody may have to wait for those who only take places.
const PATIENCE: Duration = Duration::from_secs(30);

fn connect(place: &str) -> TcpStream {
    let stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back for a request; empty when nothing does.
fn ask(place: &str, head: &str, body: &[u8]) -> String {
    let mut stream = connect(place);
    let request = format!("{head}\r\nHost: {place}\r\nConnection: close\r\n");
    let sent = stream
        .write_all(request.as_bytes())
        .and_then(|()| {
            stream.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes())
        })
        .and_then(|()| stream.write_all(body));
    // Whoever is refused in the middle of it hangs up.
    if let Err(error) = sent {
        let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(gone.contains(&error.kind()), "{error}");
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn many_who_say_nothing_are_sent_away_and_others_are_served_again() {
    let served = Served::new();
    let place = served.at("").strip_prefix("http://").unwrap().to_owned();
    let mut silent: Vec<TcpStream> = (0..MANY)
        .map(|_| {
            let mut stream = connect(&place);
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ");
            stream
        })
        .collect();
    let began = Instant::now();
    while !ask(&place, "GET /sign-in HTTP/1.1", b"").starts_with("HTTP/1.1 401") {
        assert!(began.elapsed() < PATIENCE, "nobody is served any more");
        std::thread::sleep(Duration::from_millis(200));
    }
    for stream in &mut silent {
        let mut answer = Vec::new();
        // Closed, with or without a word: a read that runs out of time is neither.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
    }
}

#[test]
fn what_is_too_long_is_refused_and_the_next_is_served() {
    let served = Served::new();
    let place = served.at("").strip_prefix("http://").unwrap().to_owned();
    let endless = format!("GET /{} HTTP/1.1", "a".repeat(1 << 20));
    let headers = format!("GET / HTTP/1.1\r\nX-Long: {}", "b".repeat(1 << 20));
    for head in [endless, headers] {
        let answer = ask(&place, &head, b"");
        let refused = answer.is_empty()
            || answer.starts_with("HTTP/1.1 414")
            || answer.starts_with("HTTP/1.1 431");
        assert!(refused, "{answer}");
    }
    let form = format!(
        "POST /sign-in HTTP/1.1\r\nOrigin: http://{place}\r\n\
         Content-Type: application/x-www-form-urlencoded"
    );
    let answer = ask(&place, &form, &b"x=".repeat(1 << 19));
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
        "{answer}"
    );
    let answer = ask(&place, "GET /sign-in HTTP/1.1", b"");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
