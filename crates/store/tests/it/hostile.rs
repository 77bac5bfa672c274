//! Servers that mean no good, lines that break, and disks that are full.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ravelin_store::{
    Error, ErrorKind, Folder, Name, Patience, Store, WriteMode, list_all, open, read_all,
};

use crate::b2::quick;
use crate::conformance::environment;
use testkit::servers::{free_port, seaweed};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Answers every request with what `answer` gives for its first line and headers.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
                let _ = (&stream).write_all(&answer(&head));
            });
        }
    });
    port
}

fn s3(port: u16) -> Arc<dyn Store> {
    let location = format!("s3+http://key:secret@127.0.0.1:{port}/bucket");
    open(&location.parse().unwrap(), &quick(environment())).unwrap()
}

fn page(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn names_that_lead_elsewhere_are_not_ours() {
    let keys = [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "a\\..\\b",
        "a%0D%0Ab",
        "good",
    ];
    let entries: String = keys
        .iter()
        .map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>"))
        .collect();
    let port = serve(move |_| {
        page(&format!(
            "<ListBucketResult>{entries}<IsTruncated>false</IsTruncated></ListBucketResult>"
        ))
    });
    let listed = list_all(&*s3(port), &Folder::root()).unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|object| object.name.as_str())
            .collect::<Vec<_>>(),
        ["good"]
    );
}

#[test]
fn listings_without_end_or_sense_are_refused() {
    let endless = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
    let bomb = format!("<a>{}", "<b>".repeat(1 << 20));
    let huge = format!(
        "<ListBucketResult>{}</ListBucketResult>",
        " ".repeat(17 << 20)
    );
    for body in [
        endless.to_owned(),
        bomb,
        huge,
        "<html>Welcome</html>".repeat(2),
        String::new(),
    ] {
        let port = serve(move |_| page(&body));
        let error = list_all(&*s3(port), &Folder::root()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    }
}

#[test]
fn credentials_never_follow_a_redirect_elsewhere() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let other = serve(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        page("")
    });
    for status in [301, 302, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: http://127.0.0.1:{other}/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let port = serve(move |_| answer.clone().into_bytes());
        let store = s3(port);
        for error in [
            store.stat(&name("x")).unwrap_err(),
            store
                .write(&name("x"), b"x", WriteMode::Replace)
                .unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
        }
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[test]
fn no_message_holds_a_secret() {
    let port = serve(|head| {
        // A server that says everything back.
        let mut answer = b"HTTP/1.1 400 Bad\r\nconnection: close\r\n\r\n".to_vec();
        answer.extend_from_slice(head.split("\r\n").next().unwrap_or_default().as_bytes());
        answer
    });
    let location = format!("s3+http://key:canary-secret@127.0.0.1:{port}/bucket");
    let store = open(&location.parse().unwrap(), &quick(environment())).unwrap();
    let error = store.stat(&name("x")).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        !shown.contains("canary") && !shown.contains("Signature"),
        "{shown}"
    );
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_at_once() {
    let Some(openssl) = testkit::require("openssl") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    let mut make = Command::new(&openssl);
    make.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]);
    make.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    assert!(testkit::output(&mut make).status.success());
    let port = free_port();
    let mut server = Command::new(&openssl)
        .args([
            "s_server",
            "-quiet",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-key",
        ])
        .arg(&key)
        .arg("-cert")
        .arg(&certificate)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut environment = quick(environment());
    environment.patience.total = Duration::from_secs(600);
    let location = format!("s3://key:secret@127.0.0.1:{port}/bucket")
        .parse()
        .unwrap();
    let began = Instant::now();
    let error = open(&location, &environment)
        .unwrap()
        .stat(&name("x"))
        .unwrap_err();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// A line to a server that can be cut after so many bytes, in one direction.
struct Line {
    port: u16,
    /// Bytes to the server and from it until the next cut; each works once.
    cut_up: Arc<Mutex<Option<usize>>>,
    cut_down: Arc<Mutex<Option<usize>>>,
    /// Cut whatever comes.
    dead: Arc<std::sync::atomic::AtomicBool>,
}

impl Line {
    /// Writes the object `a` and reads it back, over a line that is cut once each way.
    fn cut_both_ways(&self, store: &dyn Store, bytes: &Vec<u8>) {
        *self.cut_up.lock().unwrap() = Some(9_000_000);
        store.write(&name("a"), bytes, WriteMode::Replace).unwrap();
        assert!(self.cut_up.lock().unwrap().is_none());
        *self.cut_down.lock().unwrap() = Some(9_000_000);
        assert!(read_all(store, &name("a"), 1 << 30).unwrap() == *bytes);
        assert!(self.cut_down.lock().unwrap().is_none());
    }
}

fn line_to(server: u16) -> Line {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = Line {
        port: listener.local_addr().unwrap().port(),
        cut_up: Arc::default(),
        cut_down: Arc::default(),
        dead: Arc::default(),
    };
    let (cut_up, cut_down, dead) = (
        Arc::clone(&line.cut_up),
        Arc::clone(&line.cut_down),
        Arc::clone(&line.dead),
    );
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(("127.0.0.1", server)).unwrap();
            for (mut from, mut to, cut) in [
                (
                    near.try_clone().unwrap(),
                    far.try_clone().unwrap(),
                    Arc::clone(&cut_up),
                ),
                (far, near, Arc::clone(&cut_down)),
            ] {
                let dead = Arc::clone(&dead);
                std::thread::spawn(move || {
                    let mut buffer = [0; 16 * 1024];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        let mut left = cut.lock().unwrap();
                        let now = match *left {
                            Some(left) if left <= count => true,
                            Some(ref mut left) => {
                                *left -= count;
                                false
                            }
                            None => false,
                        };
                        if now {
                            *left = None;
                        }
                        drop(left);
                        if now
                            || dead.load(Ordering::SeqCst)
                            || to.write_all(&buffer[..count]).is_err()
                        {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                    let _ = from.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    line
}

#[test]
fn a_cut_line_loses_nothing_and_parts_survive_the_program() {
    let Some(server) = seaweed() else { return };
    let line = line_to(server.port);
    let state = tempfile::tempdir().unwrap();
    let mut environment = quick(environment());
    environment.state = Some(state.path().into());
    environment.parallel = 1;
    let at = |environment: &_| {
        let location = format!("s3+http://key:secret@127.0.0.1:{}/bucket/cut", line.port);
        open(&location.parse().unwrap(), environment).unwrap()
    };
    let store = at(&environment);
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    line.cut_both_ways(&*store, &bytes);

    // The line dies in the fourth of five parts, for good; a later program goes on.
    environment.patience.total = Duration::ZERO;
    let big: Vec<u8> = (0..20_000_000_u32).flat_map(u32::to_le_bytes).collect();
    *line.cut_up.lock().unwrap() = Some(58_000_000);
    let error = at(&environment)
        .write(&name("big"), &big, WriteMode::Create)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(
        store.stat(&name("big")).unwrap_err().kind,
        ErrorKind::NotFound
    );
    let before = environment.counters.get("s3 part");
    at(&environment)
        .write(&name("big"), &big, WriteMode::Create)
        .unwrap();
    assert_eq!(environment.counters.get("s3 part") - before, 2);
    assert!(read_all(&*store, &name("big"), 1 << 30).unwrap() == big);

    line.dead.store(true, Ordering::SeqCst);
    let error = at(&environment).stat(&name("a")).unwrap_err();
    assert!(
        error.kind == ErrorKind::Unavailable && error.gave_up,
        "{error:?}"
    );
}

#[test]
fn a_cut_line_under_ssh_loses_nothing() {
    let Some((server, config)) = testkit::servers::sshd() else {
        return;
    };
    let line = line_to(server.port);
    // The person's own settings, but through the line.
    let settings = std::fs::read_to_string(&config).unwrap();
    let port = format!("Port {}", server.port);
    let through = format!(
        "Port {}\n  HostKeyAlias [127.0.0.1]:{}",
        line.port, server.port
    );
    std::fs::write(&config, settings.replace(&port, &through)).unwrap();
    let mut environment = quick(crate::sftp::with_ssh(&config));
    environment.parallel = 1;
    let data = server.folder.path().join("data");
    let location = format!("sftp://store/{}", data.display());
    let at = |environment: &_| open(&location.parse().unwrap(), environment).unwrap();
    let store = at(&environment);
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    line.cut_both_ways(&*store, &bytes);

    // Where nobody tries again, what was there stays whole, and what was begun is no object.
    environment.patience.total = Duration::ZERO;
    let other: Vec<u8> = bytes.iter().rev().copied().collect();
    for object in ["a", "b"] {
        *line.cut_up.lock().unwrap() = Some(9_000_000);
        let error = at(&environment)
            .write(&name(object), &other, WriteMode::Replace)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    }
    assert!(read_all(&*store, &name("a"), 1 << 30).unwrap() == bytes);
    assert_eq!(
        store.stat(&name("b")).unwrap_err().kind,
        ErrorKind::NotFound
    );
    let all = list_all(&*store, &Folder::root()).unwrap();
    let names: Vec<String> = all.iter().map(|object| object.name.to_string()).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_server_that_hangs_is_given_up_after_the_time_without_progress() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut environment = environment();
    environment.patience = Patience {
        stall: Duration::from_millis(300),
        total: Duration::ZERO,
        ..Patience::default()
    };
    let location = format!("s3+http://key:secret@127.0.0.1:{port}/bucket")
        .parse()
        .unwrap();
    let began = Instant::now();
    let error = open(&location, &environment)
        .unwrap()
        .stat(&name("x"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_full_disk_says_so_and_keeps_what_was_there() {
    let Some(()) = testkit::require_root() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder.path());
    if !testkit::output(&mut mount).status.success() {
        return testkit::say_skipped("no file system can be mounted here");
    }
    let store = ravelin_store::Disk::new(folder.path(), &environment());
    let outcome = || -> Result<(), Error> {
        store.write(&name("a"), &vec![1; 600_000], WriteMode::Replace)?;
        let error = store
            .write(&name("a"), &vec![2; 900_000], WriteMode::Replace)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Full);
        assert_eq!(read_all(&store, &name("a"), 1 << 20)?, vec![1; 600_000]);
        assert!(
            store.space()?.unwrap().free >= 400_000,
            "what was written in vain is gone"
        );
        store
            .write(&name("b"), &vec![2; 300_000], WriteMode::Create)
            .map(drop)
    };
    let result = outcome();
    assert!(
        testkit::output(Command::new("umount").arg(folder.path()))
            .status
            .success()
    );
    result.unwrap();
}
