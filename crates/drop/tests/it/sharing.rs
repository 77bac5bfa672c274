//! Links and requests, as a web server would ask for them.

use std::io::Read;
use std::sync::Arc;

use ravelin_drop::{Declined, Device, Folder, Links, NewLink, Refusal, Requests};
use store::{Memory, Secret, Store};

use crate::bench::{at, environment, folder_on, name, plain};

fn shared() -> (Arc<dyn Store>, Folder, Links) {
    let memory = Memory::new();
    Folder::create(&memory, &environment()).unwrap();
    let store: Arc<dyn Store> = Arc::new(memory);
    let mut folder = folder_on(Arc::clone(&store), "laptop");
    folder
        .put(&name("a/report.odt"), &b"the report"[..], at(0), at(0))
        .unwrap();
    let links = Links::new(Arc::clone(&store), &environment());
    (store, folder, links)
}

fn plain_link() -> NewLink {
    NewLink {
        expires: at(1000),
        password: None,
        once: false,
        download: true,
    }
}

fn make(links: &Links, folder: &Folder, new: &NewLink) -> ravelin_drop::ShareLink {
    let device = Device::new("laptop");
    links
        .create(folder, &name("a/report.odt"), new, &device, at(0))
        .unwrap()
}

fn read(
    links: &Links,
    folder: &mut Folder,
    token: &str,
    password: Option<&str>,
    seconds: i64,
) -> Result<Vec<u8>, Refusal> {
    let (_, mut body) = links.open(folder, token, password, at(seconds))?;
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

#[test]
fn a_link_gives_the_present_version_until_it_ends_or_is_taken_back() {
    let (_store, mut folder, links) = shared();
    let link = make(&links, &folder, &plain_link());
    let shown = links.look(&folder, &link.token, at(1)).unwrap();
    assert_eq!(
        (shown.file_name.as_str(), shown.size),
        ("report.odt", Some(10))
    );
    assert_eq!(
        read(&links, &mut folder, &link.token, None, 1).unwrap(),
        b"the report"
    );
    folder
        .put(&name("a/report.odt"), &b"newer"[..], at(2), at(2))
        .unwrap();
    assert_eq!(
        read(&links, &mut folder, &link.token, None, 3).unwrap(),
        b"newer"
    );
    assert_eq!(links.list(at(4)).unwrap(), std::slice::from_ref(&link));
    let over = read(&links, &mut folder, &link.token, None, 1000);
    assert!(matches!(over, Err(Refusal::Expired)));
    links.revoke(&link.id).unwrap();
    let gone = read(&links, &mut folder, &link.token, None, 5);
    assert!(matches!(gone, Err(Refusal::Unknown)));
    assert!(links.revoke(&link.id).is_err());
    assert_eq!(links.list(at(6)).unwrap(), []);
}

#[test]
fn every_changed_token_is_refused() {
    let (_store, mut folder, links) = shared();
    let link = make(&links, &folder, &plain_link());
    assert!(read(&links, &mut folder, &link.token, None, 1).is_ok());
    for index in 0..link.token.len() - 1 {
        let mut forged = link.token.clone().into_bytes();
        forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let opened = read(&links, &mut folder, &forged, None, 1);
        assert!(matches!(opened, Err(Refusal::Unknown)), "{index}");
    }
    for token in ["", "../key", "AAAA", &"A".repeat(10_000), &link.token[..40]] {
        let opened = read(&links, &mut folder, token, None, 1);
        assert!(matches!(opened, Err(Refusal::Unknown)), "{token}");
    }
}

#[test]
fn all_links_can_be_taken_back_at_once() {
    let (store, mut folder, links) = shared();
    let first = make(&links, &folder, &plain_link());
    let second = make(&links, &folder, &plain_link());
    // Somebody kept a copy of the record, and puts it back.
    let record = name(&format!(".ravelin-drop/links/{}.json", first.id));
    let bytes = store::read_all(&*store, &record, 1 << 16).unwrap();
    assert_eq!(links.revoke_all().unwrap(), 2);
    store
        .write(&record, &bytes, store::WriteMode::Create)
        .unwrap();
    for link in [first, second] {
        let opened = read(&links, &mut folder, &link.token, None, 1);
        assert!(matches!(opened, Err(Refusal::Unknown)));
    }
}

#[test]
fn a_password_is_needed_kept_as_a_slow_hash_and_guessed_slowly() {
    let (store, mut folder, links) = shared();
    let new = NewLink {
        password: Some(Secret::new("correct horse")),
        ..plain_link()
    };
    let link = make(&links, &folder, &new);
    let shown = links.look(&folder, &link.token, at(1)).unwrap();
    assert!(shown.needs_password && shown.size.is_none());
    let record = name(&format!(".ravelin-drop/links/{}.json", link.id));
    let record = store::read_all(&*store, &record, 1 << 16).unwrap();
    assert!(!String::from_utf8(record).unwrap().contains("horse"));
    let open = |folder: &mut Folder, password, seconds| {
        read(&links, folder, &link.token, password, seconds)
    };
    assert!(matches!(
        open(&mut folder, None, 1),
        Err(Refusal::PasswordNeeded)
    ));
    for _ in 0..5 {
        assert!(matches!(
            open(&mut folder, Some("wrong"), 1),
            Err(Refusal::WrongPassword)
        ));
    }
    // From now on it takes time, also with the right one.
    assert!(matches!(
        open(&mut folder, Some("correct horse"), 1),
        Err(Refusal::TooManyTries { .. })
    ));
    assert!(matches!(
        open(&mut folder, Some("wrong"), 3),
        Err(Refusal::WrongPassword)
    ));
    assert!(matches!(
        open(&mut folder, Some("correct horse"), 4),
        Err(Refusal::TooManyTries { .. })
    ));
    assert_eq!(
        open(&mut folder, Some("correct horse"), 10).unwrap(),
        b"the report"
    );
}

#[test]
fn a_link_for_one_use_is_used_once_by_many_at_once() {
    let (store, folder, links) = shared();
    let new = NewLink {
        once: true,
        ..plain_link()
    };
    let link = make(&links, &folder, &new);
    // Looking does not use it up.
    links.look(&folder, &link.token, at(1)).unwrap();
    let got: usize = std::thread::scope(|scope| {
        let guests: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut folder = folder_on(Arc::clone(&store), "server");
                    usize::from(read(&links, &mut folder, &link.token, None, 1).is_ok())
                })
            })
            .collect();
        guests.into_iter().map(|guest| guest.join().unwrap()).sum()
    });
    assert_eq!(got, 1);
    let again = links.look(&folder, &link.token, at(2));
    assert!(matches!(again, Err(Refusal::Used)));
    assert!(links.list(at(2)).unwrap()[0].used);
}

#[test]
fn a_link_has_an_end_within_a_year() {
    let (_store, folder, links) = shared();
    let device = Device::new("laptop");
    for expires in [at(0), at(-5), at(366 * 86_400)] {
        let new = NewLink {
            expires,
            ..plain_link()
        };
        let made = links.create(&folder, &name("a/report.odt"), &new, &device, at(0));
        assert!(made.is_err());
    }
    let missing = links.create(&folder, &name("missing"), &plain_link(), &device, at(0));
    assert!(missing.is_err());
}

#[test]
fn guests_upload_into_quarantine_within_deadline_and_quota() {
    let (store, mut folder, _links) = shared();
    let requests = Requests::new(Arc::clone(&store), &environment());
    let made = requests.create("Photos", at(1000), 100, at(0)).unwrap();
    let send = |token: &str, file: &str, bytes: &[u8], seconds: i64| {
        requests.receive(token, file, bytes.len() as u64, bytes, at(seconds))
    };
    send(&made.token, "me.jpg", &[1; 60], 1).unwrap();
    let large = send(&made.token, "big.jpg", &[1; 60], 2);
    assert!(matches!(large, Err(Declined::TooLarge)));
    let late = send(&made.token, "x", &[1], 1000);
    assert!(matches!(late, Err(Declined::TooLate)));
    for bad in ["../x", "a/b", ".hidden", "", "a\\b", "a\nb"] {
        let declined = send(&made.token, bad, &[1], 3);
        assert!(matches!(declined, Err(Declined::BadName)), "{bad:?}");
    }
    for (said, sent) in [(10, 5), (5, 10)] {
        let lied = requests.receive(&made.token, "x", said, &vec![1; sent][..], at(3));
        assert!(matches!(lied, Err(Declined::Incomplete)));
    }
    let forged = send("AAAA", "x", &[1], 3);
    assert!(matches!(forged, Err(Declined::Unknown)));
    // Nothing of it is in the folder, until it is accepted.
    assert_eq!(plain(&*store).len(), 1);
    let listed = requests.list().unwrap();
    assert_eq!(listed[0].received.len(), 1);
    let received = &listed[0].received[0];
    let accepted = requests.accept(&mut folder, received, &name("Received"), at(4));
    assert_eq!(accepted.unwrap(), name("Received/me.jpg"));
    assert_eq!(plain(&*store)["Received/me.jpg"], [1; 60]);
    assert!(requests.list().unwrap()[0].received.is_empty());
    requests.close(&made.id).unwrap();
    let closed = send(&made.token, "x", &[1], 5);
    assert!(matches!(closed, Err(Declined::Unknown)));
}

#[test]
fn a_token_of_one_kind_opens_nothing_of_another() {
    let (store, mut folder, links) = shared();
    let requests = Requests::new(Arc::clone(&store), &environment());
    let request = requests.create("Photos", at(1000), 100, at(0)).unwrap();
    let link = make(&links, &folder, &plain_link());
    let opened = read(&links, &mut folder, &request.token, None, 1);
    assert!(matches!(opened, Err(Refusal::Unknown)));
    let sent = requests.receive(&link.token, "x", 1, &[1][..], at(1));
    assert!(matches!(sent, Err(Declined::Unknown)));
}

#[test]
fn what_guests_send_replaces_nothing() {
    let (store, mut folder, _links) = shared();
    let requests = Requests::new(Arc::clone(&store), &environment());
    let made = requests.create("Photos", at(1000), 100, at(0)).unwrap();
    folder
        .put(&name("Received/me.jpg"), &b"mine"[..], at(1), at(1))
        .unwrap();
    for content in [b"one", b"two"] {
        requests
            .receive(&made.token, "me.jpg", 3, &content[..], at(2))
            .unwrap();
    }
    let received = requests.list().unwrap().remove(0).received;
    assert_eq!(received.len(), 2);
    for file in &received {
        requests
            .accept(&mut folder, file, &name("Received"), at(3))
            .unwrap();
    }
    let plain = plain(&*store);
    assert_eq!(plain["Received/me.jpg"], b"mine");
    let mut sent = [
        plain["Received/me (2).jpg"].clone(),
        plain["Received/me (3).jpg"].clone(),
    ];
    sent.sort();
    assert_eq!(sent, [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(folder.history(&name("Received/me.jpg")).unwrap().len(), 1);
}

#[test]
fn only_what_a_browser_shows_without_running_it_can_be_shared_for_looking() {
    let (_store, mut folder, links) = shared();
    let device = Device::new("laptop");
    let new = NewLink {
        download: false,
        ..plain_link()
    };
    for (file, can) in [
        ("sea.JPG", true),
        ("notes.txt", true),
        ("page.html", false),
        ("drawing.svg", false),
        ("report.pdf", false),
        ("noending", false),
    ] {
        let path = name(file);
        folder.put(&path, &b"x"[..], at(1), at(1)).unwrap();
        let made = links.create(&folder, &path, &new, &device, at(1));
        assert_eq!(made.is_ok(), can, "{file}");
    }
}

#[test]
fn closing_a_request_does_not_lose_what_waits_in_quarantine() {
    let (store, mut folder, _links) = shared();
    let requests = Requests::new(Arc::clone(&store), &environment());
    let made = requests.create("Photos", at(1000), 100, at(0)).unwrap();
    requests
        .receive(&made.token, "me.jpg", 3, &b"sea"[..], at(1))
        .unwrap();
    requests.close(&made.id).unwrap();
    let late = requests.receive(&made.token, "x", 1, &b"x"[..], at(2));
    assert!(matches!(late, Err(Declined::Unknown)));
    let listed = requests.list().unwrap();
    assert!(listed[0].deadline <= at(2));
    let renewed = requests.receive(&listed[0].token, "x", 1, &b"x"[..], at(2));
    assert!(matches!(renewed, Err(Declined::TooLate)));
    let to = name("Received");
    requests
        .accept(&mut folder, &listed[0].received[0], &to, at(3))
        .unwrap();
    requests.close(&made.id).unwrap();
    assert_eq!(requests.list().unwrap(), []);
}
