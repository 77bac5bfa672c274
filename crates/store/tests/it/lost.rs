//! Answers that are lost after the work was done, and uploads that are cut short unnoticed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ravelin_store::{ErrorKind, Name, Store, WriteMode, open, read_all};

use crate::b2::quick;
use crate::conformance::environment;

type Objects = BTreeMap<String, Vec<u8>>;

struct Asked {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let method = words.next()?.to_owned();
    let target = words.next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let size = headers
        .get("content-length")
        .map_or(Some(0), |size| size.parse().ok())?;
    let mut body = vec![0; size];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body,
    })
}

/// Answers with status, headers and body; with `None` it does the work and hangs up.
fn serve(
    handle: impl Fn(&Asked, &mut Objects) -> Option<(u16, String, Vec<u8>)> + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = Arc::new((handle, Mutex::new(Objects::new())));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let Some(asked) = read(&stream) else { return };
                let answer = (shared.0)(&asked, &mut shared.1.lock().unwrap());
                let Some((status, headers, body)) = answer else {
                    return;
                };
                let head = if asked.method == "HEAD" {
                    format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}\r\n")
                } else {
                    let size = body.len();
                    format!(
                        "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {size}\r\n{headers}\r\n"
                    )
                };
                let _ = (&stream).write_all(head.as_bytes());
                if asked.method != "HEAD" {
                    let _ = (&stream).write_all(&body);
                }
            });
        }
    });
    port
}

/// How the small WebDAV server fails.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    LoseMove,
    CutPut,
}

fn webdav(fault: Fault) -> Arc<dyn Store> {
    let lost = Mutex::new(false);
    let port = serve(move |asked, objects| {
        let empty = |status| Some((status, String::new(), Vec::new()));
        match asked.method.as_str() {
            "PUT" => {
                let mut body = asked.body.clone();
                if fault == Fault::CutPut && body.starts_with(b"new") {
                    body.truncate(2);
                }
                objects.insert(asked.path.clone(), body);
                empty(201)
            }
            "GET" => match objects.get(&asked.path) {
                Some(bytes) => Some((200, String::new(), bytes.clone())),
                None => empty(404),
            },
            "PROPFIND" => match objects.get(&asked.path) {
                Some(bytes) => {
                    let text = format!(
                        "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{}</D:href><D:propstat><D:prop><D:resourcetype/><D:getcontentlength>{}</D:getcontentlength></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>",
                        asked.path,
                        bytes.len()
                    );
                    Some((207, String::new(), text.into_bytes()))
                }
                None => empty(404),
            },
            "MOVE" => {
                let Some(bytes) = objects.remove(&asked.path) else {
                    return empty(404);
                };
                let target = &asked.headers["destination"];
                let target = target.split_once("://").unwrap().1;
                let target = &target[target.find('/').unwrap()..];
                objects.insert(target.to_owned(), bytes);
                let first = !std::mem::replace(&mut *lost.lock().unwrap(), true);
                if fault == Fault::LoseMove && first {
                    return None;
                }
                empty(201)
            }
            "DELETE" => {
                objects.remove(&asked.path);
                empty(204)
            }
            _ => empty(405),
        }
    });
    let location = format!("webdav+http://me:pw@127.0.0.1:{port}/");
    open(&location.parse().unwrap(), &quick(environment())).unwrap()
}

#[test]
fn a_webdav_move_whose_answer_is_lost_has_written_the_object() {
    for mode in [WriteMode::Create, WriteMode::Replace] {
        let store = webdav(Fault::LoseMove);
        let name = Name::new("x").unwrap();
        let object = store.write(&name, b"new bytes", mode).unwrap();
        assert_eq!(object.size, 9);
        assert_eq!(read_all(&*store, &name, 100).unwrap(), b"new bytes");
    }
    let store = webdav(Fault::LoseMove);
    let (from, to) = (Name::new("t").unwrap(), Name::new("y").unwrap());
    // The fault befalls the write's own MOVE first; a fresh server would need none.
    store.write(&from, b"bytes", WriteMode::Create).unwrap();
    store.rename(&from, &to).unwrap();
    assert_eq!(read_all(&*store, &to, 100).unwrap(), b"bytes");
}

#[test]
fn a_webdav_upload_that_is_cut_short_leaves_the_old_object() {
    let store = webdav(Fault::CutPut);
    let name = Name::new("x").unwrap();
    store
        .write(&name, b"old bytes", WriteMode::Replace)
        .unwrap();
    let error = store
        .write(&name, b"new bytes", WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert_eq!(read_all(&*store, &name, 100).unwrap(), b"old bytes");
}

#[test]
fn a_multipart_upload_to_s3_whose_last_answer_is_lost_is_done() {
    let port = serve(|asked, objects| {
        let page = |text: &str| Some((200, String::new(), text.as_bytes().to_vec()));
        let missing = || {
            let text = "<Error><Code>NoSuchUpload</Code></Error>";
            Some((404, String::new(), text.as_bytes().to_vec()))
        };
        match asked.method.as_str() {
            "POST" if asked.query.contains("uploads") => {
                objects.insert("upload".into(), Vec::new());
                page(
                    "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>",
                )
            }
            "PUT" => {
                let number = asked.query.split("partNumber=").nth(1).unwrap();
                let number: u32 = number.split('&').next().unwrap().parse().unwrap();
                objects.insert(format!("part {number:05}"), asked.body.clone());
                Some((200, "etag: \"e\"\r\n".into(), Vec::new()))
            }
            "POST" => {
                if objects.remove("upload").is_none() {
                    return missing();
                }
                let parts: Vec<u8> = objects
                    .iter()
                    .filter(|(name, _)| name.starts_with("part "))
                    .flat_map(|(_, bytes)| bytes.clone())
                    .collect();
                objects.insert(asked.path.clone(), parts);
                None
            }
            _ => match objects.get(&asked.path) {
                Some(bytes) => {
                    let mut headers = "etag: \"whole\"\r\n".to_owned();
                    if asked.method == "HEAD" {
                        headers += &format!("content-length: {}\r\n", bytes.len());
                    }
                    Some((200, headers, bytes.clone()))
                }
                None => missing(),
            },
        }
    });
    let location = format!("s3+http://key:secret@127.0.0.1:{port}/bucket");
    let environment = quick(environment());
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    let bytes: Vec<u8> = (0..(65_u32 << 20) / 4).flat_map(u32::to_le_bytes).collect();
    let name = Name::new("big").unwrap();
    let object = store.write(&name, &bytes, WriteMode::Replace).unwrap();
    assert_eq!(object.version.as_deref(), Some("whole"));
    assert!(read_all(&*store, &name, 1 << 30).unwrap() == bytes);
    assert_eq!(environment.counters.get("s3 begin"), 1);
}
