//! Those who follow a link, and those who would like to have one.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use jiff::SignedDuration;

use crate::dropping::{finish, form, house, part, put};
use crate::visitor::{House, Visitor};

/// The address behind a prefix that stands on the page of links.
pub(crate) fn link(visitor: &Visitor, prefix: &str) -> String {
    let page = visitor.get("/drop/links").text();
    let rest = page.split(prefix).nth(1).unwrap();
    format!("{prefix}{}", rest.split('<').next().unwrap())
}

#[test]
fn a_guest_gets_one_file_by_its_link_and_nothing_else() {
    let (house, visitor) = house();
    put(&visitor, "plans.txt", "secret plans");
    let fields = [
        ("path", "plans.txt"),
        ("days", "7"),
        ("password", "open sesame"),
    ];
    let reply = visitor.post("/drop/share", &fields);
    let place = reply.header("location");
    assert!(place.starts_with("/drop/links?told=shared&new="), "{place}");
    visitor.get(place).must_say("The new link");
    let address = link(&visitor, "/s/");
    let guest = house.stranger();
    let shown = guest.get(&address);
    shown.must_say("Password");
    for hidden in ["plans.txt", "12 B", "/activity", "href=\"/\""] {
        assert!(!shown.text().contains(hidden), "{hidden}");
    }
    assert_eq!(guest.post(&address, &[]).status, StatusCode::FORBIDDEN);
    guest
        .post(&address, &[("password", "wrong")])
        .must_say("password is wrong");
    let file = guest.post(&address, &[("password", "open sesame")]);
    assert_eq!(file.text(), "secret plans");
    assert!(file.header("content-disposition").starts_with("attachment"));
    visitor.get("/activity").must_say("A link was used");

    let other = if address.ends_with('x') { 'y' } else { 'x' };
    let forged = format!("{}{other}", &address[..address.len() - 1]);
    for other in [forged.as_str(), "/s/", "/s/..%2f..", "/s/plans.txt"] {
        let reply = guest.get(other);
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{other}");
    }
    assert_eq!(guest.get("/drop").status, StatusCode::UNAUTHORIZED);
    visitor.post("/drop/revoke-all", &[]);
    assert_eq!(guest.get(&address).status, StatusCode::NOT_FOUND);
}

#[test]
fn a_link_for_one_use_is_used_up_by_taking_and_not_by_looking() {
    let (house, visitor) = house();
    put(&visitor, "one.txt", "x");
    visitor.post(
        "/drop/share",
        &[("path", "one.txt"), ("days", "1"), ("once", "yes")],
    );
    let address = link(&visitor, "/s/");
    let guest = house.stranger();
    for _ in 0..3 {
        assert_eq!(guest.get(&address).status, StatusCode::OK);
    }
    assert_eq!(guest.post(&address, &[]).text(), "x");
    assert_eq!(guest.post(&address, &[]).status, StatusCode::GONE);
}

#[test]
fn guests_send_files_into_quarantine_and_no_further() {
    let (house, visitor) = house();
    let photos = [("title", "Photos <b>"), ("days", "7"), ("quota", "1000")];
    visitor.post("/drop/request", &photos);
    let address = link(&visitor, "/r/");
    let guest = house.stranger();
    let shown = guest.get(&address);
    shown.must_say("Photos &lt;b&gt;");
    let sent = form(
        &guest,
        &address,
        &[],
        &[("sea.jpg", "the sea"), ("hill.jpg", "the hill")],
    );
    sent.must_say("2 files");
    for name in [".hidden", "../evil", "a/b"] {
        let reply = form(&guest, &address, &[], &[(name, "x")]);
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
    }
    assert!(!visitor.get("/drop").text().contains("sea.jpg"));
    let page = visitor.get("/drop/links");
    page.must_say("sea.jpg").must_say("hill.jpg");
    let hidden = |name: &str| {
        let text = visitor.get("/drop/links").text();
        let before = text.split(name).nth(1).unwrap().to_owned();
        let field = |field: &str| {
            let rest = before
                .split(&format!("name=\"{field}\" value=\""))
                .nth(1)
                .unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        (field("id"), field("object"))
    };
    let (id, object) = hidden("sea.jpg</bdi>");
    visitor.post("/drop/accept", &[("id", &id), ("object", &object)]);
    visitor.get("/drop?in=Received").must_say("sea.jpg");
    let (id, object) = hidden("hill.jpg</bdi>");
    visitor.post("/drop/reject", &[("id", &id), ("object", &object)]);
    assert!(!visitor.get("/drop/links").text().contains("hill.jpg"));
    // What is no upload of this request cannot be taken in.
    let reply = visitor.post("/drop/accept", &[("id", &id), ("object", "plans.txt")]);
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    visitor.post("/drop/close", &[("id", &id)]);
    assert_eq!(guest.get(&address).status, StatusCode::NOT_FOUND);
    let late = form(&guest, &address, &[], &[("late.jpg", "x")]);
    assert_eq!(late.status, StatusCode::NOT_FOUND);
}

#[test]
fn links_that_are_over_taken_back_or_of_another_kind_open_nothing() {
    let (house, visitor) = house();
    put(&visitor, "a.txt", "a");
    visitor.post("/drop/share", &[("path", "a.txt"), ("days", "1")]);
    let file = link(&visitor, "/s/");
    let photos = [("title", "Photos"), ("days", "1"), ("quota", "100")];
    visitor.post("/drop/request", &photos);
    let request = link(&visitor, "/r/");
    let guest = house.stranger();
    assert_eq!(guest.post(&file, &[]).text(), "a");
    // The one kind of token is not the other.
    let crossed = [file.replace("/s/", "/r/"), request.replace("/r/", "/s/")];
    for address in &crossed {
        assert_eq!(guest.get(address).status, StatusCode::NOT_FOUND);
    }
    let sent = form(&guest, &crossed[0], &[], &[("x.jpg", "x")]);
    assert_eq!(sent.status, StatusCode::NOT_FOUND);
    // Each sign of a token counts.
    for index in [3, 10, 30, 66] {
        let mut forged = file.clone().into_bytes();
        forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(guest.post(&forged, &[]).status, StatusCode::NOT_FOUND);
    }
    house.wait(SignedDuration::from_hours(25));
    assert_eq!(guest.get(&file).status, StatusCode::GONE);
    assert_eq!(guest.post(&file, &[]).status, StatusCode::GONE);
    let late = guest.get(&request);
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
    let late = form(&guest, &request, &[], &[("x.jpg", "x")]);
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[test]
fn passwords_of_links_are_guessed_slowly() {
    let (house, visitor) = house();
    put(&visitor, "a.txt", "a");
    let fields = [("path", "a.txt"), ("days", "1"), ("password", "right")];
    visitor.post("/drop/share", &fields);
    let address = link(&visitor, "/s/");
    let guest = house.stranger();
    for _ in 0..5 {
        let reply = guest.post(&address, &[("password", "wrong")]);
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
    }
    // The right one does not help before the wait is over: it could be a guess, too.
    let reply = guest.post(&address, &[("password", "right")]);
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(reply.header("retry-after").parse::<u32>().unwrap() > 0);
    house.wait(SignedDuration::from_secs(2));
    assert_eq!(guest.post(&address, &[("password", "right")]).text(), "a");
    let deeds = visitor.get("/activity").text();
    assert_eq!(deeds.matches("A wrong password for a link").count(), 5);
    // Of the password, only a slow hash is anywhere.
    let mut folders = vec![house.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(5).any(|is| is == b"right"), "{path:?}");
            }
        }
    }
}

#[test]
fn who_guesses_links_waits_and_who_has_one_does_not() {
    let (house, visitor) = house();
    put(&visitor, "a.txt", "a");
    visitor.post("/drop/share", &[("path", "a.txt"), ("days", "1")]);
    let address = link(&visitor, "/s/");
    let guest = house.stranger();
    assert_eq!(guest.get(&address).status, StatusCode::OK);
    let mut refused = 0;
    for guess in 0..80 {
        let reply = guest.get(&format!("/s/{guess:064}"));
        match reply.status {
            StatusCode::NOT_FOUND => {}
            StatusCode::TOO_MANY_REQUESTS => {
                refused += 1;
                assert!(reply.header("retry-after").parse::<u32>().unwrap() > 0);
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused >= 10, "{refused}");
    assert_eq!(guest.get(&address).status, StatusCode::OK);
}

/// The requests of the drop folder of a house, without its page.
fn requests(house: &House) -> drop::Requests {
    let store = house.folder.path().join("drop").display().to_string();
    let environment = house.page.machine().store_environment();
    let store = store::open(&store.parse().unwrap(), &environment).unwrap();
    drop::Requests::new(Arc::clone(&store), &environment)
}

#[test]
fn guests_cannot_send_more_than_was_asked_for_and_replace_nothing() {
    let (house, visitor) = house();
    put(&visitor, "Received/sea.jpg", "my own sea");
    let requests = requests(&house);
    let now = house.page.machine().now().timestamp();
    let deadline = now + SignedDuration::from_hours(1);
    requests.create("Photos", deadline, 100, now).unwrap();
    let address = link(&visitor, "/r/");
    let guest = house.stranger();
    guest.get(&address).must_say("There is room for 100");
    let large = form(&guest, &address, &[], &[("large.jpg", &"x".repeat(101))]);
    assert_eq!(large.status, StatusCode::UNPROCESSABLE_ENTITY);
    large.must_say("no room");
    form(&guest, &address, &[], &[("sea.jpg", &"s".repeat(60))]).must_say("1 file");
    let more = form(
        &guest,
        &address,
        &[],
        &[("more.jpg", &"m".repeat(41)), ("x.jpg", "x")],
    );
    assert_eq!(more.status, StatusCode::UNPROCESSABLE_ENTITY);
    let waiting = requests.list().unwrap().remove(0).received;
    assert_eq!(waiting.len(), 1);
    let fields = [
        ("id", requests.list().unwrap()[0].id.clone()),
        ("object", waiting[0].object.to_string()),
    ];
    let fields = fields
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    visitor.post("/drop/accept", &fields);
    let mine = visitor.get("/drop/file?path=Received/sea.jpg");
    assert_eq!(mine.text(), "my own sea");
    let sent = visitor.get("/drop/file?path=Received/sea%20(2).jpg");
    assert_eq!(sent.text(), "s".repeat(60));
    // Nothing of what was refused lies anywhere.
    let spools = house.home().join(".cache/ravelin/page-uploads");
    assert_eq!(std::fs::read_dir(spools).unwrap().count(), 0);
}

#[test]
fn what_is_for_looking_only_is_shown_without_any_rights() {
    let (house, visitor) = house();
    put(&visitor, "page.html", "<script>alert(1)</script>");
    let look = |path: &str| {
        visitor.post(
            "/drop/share",
            &[("path", path), ("days", "1"), ("look", "yes")],
        )
    };
    assert_eq!(look("page.html").status, StatusCode::UNPROCESSABLE_ENTITY);
    for (name, kind) in [
        ("notes.txt", "text/plain; charset=utf-8"),
        ("sea.png", "image/png"),
    ] {
        put(&visitor, name, "<script>alert(1)</script>");
        assert_eq!(look(name).status, StatusCode::SEE_OTHER);
        let address = link(&visitor, "/s/");
        let guest = house.stranger();
        guest.get(&address).must_say("Look at it");
        let file = guest.post(&address, &[]);
        assert_eq!(file.header("content-type"), kind);
        assert_eq!(file.header("content-disposition"), "inline");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let policy = file.header("content-security-policy");
        assert!(
            policy.contains("sandbox;") && !policy.contains("script"),
            "{policy}"
        );
        visitor.post("/drop/revoke-all", &[]);
    }
}

#[test]
fn other_pages_make_no_guest_and_no_owner_do_anything() {
    let (house, visitor) = house();
    put(&visitor, "a.txt", "a");
    visitor.post(
        "/drop/share",
        &[("path", "a.txt"), ("days", "1"), ("once", "yes")],
    );
    let photos = [("title", "Photos"), ("days", "1"), ("quota", "100")];
    visitor.post("/drop/request", &photos);
    let places = [
        ("POST", link(&visitor, "/s/")),
        ("POST", link(&visitor, "/r/")),
        ("POST", "/drop".to_owned()),
        ("PUT", format!("/drop/part?id={}&at=0", crate::dropping::ID)),
    ];
    for (method, place) in &places {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("referer", "http://evil.example/"),
        ] {
            let request = axum::http::Request::builder()
                .method(*method)
                .uri(place)
                .header("host", crate::visitor::HOST)
                .header("cookie", visitor.cookie.as_ref().unwrap())
                .header("x-ravelin-token", &visitor.token)
                .header("content-type", "application/x-www-form-urlencoded")
                .header(name, value);
            let reply = visitor.send(request.body(Body::empty()).unwrap());
            assert_eq!(
                reply.status,
                StatusCode::FORBIDDEN,
                "{place} {name}: {value}"
            );
        }
    }
    assert_eq!(house.stranger().post(&places[0].1, &[]).text(), "a");
    let bare = part(&house.stranger(), crate::dropping::ID, 0, "x");
    assert_eq!(bare.status, StatusCode::FORBIDDEN);
    let bare = finish(&house.stranger(), "b.txt", "1");
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
}

#[test]
fn without_a_drop_folder_no_link_is_known() {
    let house = House::new();
    let guest = house.stranger();
    let places = ["/s/", "/r/"].map(|kind| format!("{kind}{}", "A".repeat(64)));
    for place in &places {
        assert_eq!(guest.get(place).status, StatusCode::NOT_FOUND);
    }
    house.configure_simply();
    for place in &places {
        let reply = guest.get(place);
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        reply.must_say("does not exist, or was taken back");
        assert!(!reply.text().contains("disk"));
    }
}
