//! A large file on its way into the drop folder, through a page that is killed meanwhile.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use snapbox::cmd::cargo_bin;

use crate::bench::Bench;

/// No multiple of a part.
const SIZE: usize = (300 << 20) + 12_345;

/// As our script sends it.
const PART: usize = 4 << 20;

/// Bytes of memory that the page gets for it at most; it takes some forty without.
const MEMORY_MAX: u64 = 120 << 20;

const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The page as a program, and somebody who is signed in.
struct Visit {
    child: Child,
    host: String,
    cookie: String,
    token: String,
}

impl Visit {
    fn begin(bench: &Bench) -> Self {
        let mut child = Command::new(cargo_bin!("ravelin"))
            .args(["ui", "--no-browser", "--listen", "127.0.0.1:0"])
            .env_clear()
            .env("HOME", bench.home())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let link = said.next().unwrap().unwrap();
        let (page, secret) = link.split_once("/sign-in?link=").unwrap();
        let host = page.rsplit('/').next().unwrap().to_owned();
        let mut visit = Self {
            child,
            host,
            cookie: String::new(),
            token: String::new(),
        };
        let (head, _) = visit.form("/sign-in", &format!("link={secret}"));
        let cookie = head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "));
        cookie
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .clone_into(&mut visit.cookie);
        let (_, settings) = visit.ask("GET", "/settings", "", b"");
        let token = settings.split("name=\"token\" value=\"").nth(1).unwrap();
        token
            .split('"')
            .next()
            .unwrap()
            .clone_into(&mut visit.token);
        visit
    }

    /// Sends a request; gives the head and the body of the answer.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (String, String) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {0}\r\norigin: http://{0}\r\ncookie: {1}\r\n{headers}\
             content-length: {2}\r\nconnection: close\r\n\r\n",
            self.host,
            self.cookie,
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn form(&self, path: &str, fields: &str) -> (String, String) {
        let kind = "content-type: application/x-www-form-urlencoded\r\n";
        let body = format!("token={}&{fields}", self.token);
        self.ask("POST", path, kind, body.as_bytes())
    }

    /// How much of the upload is there.
    fn have(&self) -> usize {
        let (_, body) = self.ask("GET", &format!("/drop/part?id={ID}"), "", b"");
        let size = body
            .trim()
            .strip_prefix("{\"size\":")
            .unwrap()
            .trim_end_matches('}');
        size.parse().unwrap()
    }

    /// Sends parts until this much is there.
    fn send(&self, content: &[u8], until: usize) {
        let mut at = self.have();
        while at < until {
            let part = &content[at..content.len().min(at + PART)];
            let token = format!("x-ravelin-token: {}\r\n", self.token);
            let path = format!("/drop/part?id={ID}&at={at}");
            let (head, _) = self.ask("PUT", &path, &token, part);
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            at += part.len();
        }
    }

    /// Most memory that it had at a time, in bytes.
    fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().trim_end_matches(" kB");
        peak.parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_large_upload_goes_on_after_the_page_was_killed_and_takes_little_memory() {
    let bench = Bench::new();
    let store = bench.home().join("store");
    fs::create_dir(&store).unwrap();
    bench.private_file(
        ".config/ravelin/ravelin.toml",
        &format!(
            "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.drop]\nkind = \"drop\"\nstore = \"{}\"\n",
            store.display()
        ),
    );
    // Not the same everywhere, so that a part at a wrong place would be seen.
    let mut content = vec![0; SIZE];
    for (number, place) in content.iter_mut().step_by(1_000_003).enumerate() {
        *place = u8::try_from(number % 251 + 1).unwrap();
    }
    let visit = Visit::begin(&bench);
    visit.form("/drop/create", "");
    visit.send(&content, SIZE / 2);
    // No tidy end.
    drop(visit);

    let visit = Visit::begin(&bench);
    let have = visit.have();
    assert!((SIZE / 2..SIZE / 2 + PART).contains(&have), "{have}");
    visit.send(&content, SIZE);
    let fields = format!("id={ID}&name=film.mkv&size={SIZE}&modified=1800000000000");
    let (head, body) = visit.form("/drop/finish", &fields);
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}\n{body}");
    let peak = visit.peak_memory();
    println!(
        "{} MB through the page took {} MB of memory",
        SIZE >> 20,
        peak >> 20
    );
    assert!(peak < MEMORY_MAX, "{peak} bytes of memory");
    let kept = fs::read(store.join("film.mkv")).unwrap();
    assert!(kept == content, "the file differs");
}
