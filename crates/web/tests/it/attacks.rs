//! What those try who are not the person at the machine.

use std::fs;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use ravelin_web::Address;

use crate::screens::protected;
use crate::visitor::{HOST, House, encoded};

/// All that can be looked at, and all that can be done, by those who are signed in.
pub(crate) const SCREENS: &[&str] = &[
    "/",
    "/restore",
    "/restore?q=e",
    "/restore/browse?layer=disk",
    "/sources",
    "/sources/preview",
    "/layers",
    "/layers/add",
    "/activity",
    "/drop",
    "/sheet",
    "/settings",
];
const DEEDS: &[&str] = &[
    "/backup",
    "/welcome",
    "/restore",
    "/sources",
    "/sources/preview",
    "/layers/add",
    "/layers/change",
    "/layers/keep",
    "/layers/verify",
    "/layers/drill",
    "/drop/finish",
    "/drop/create",
    "/drop/restore",
    "/drop/delete",
    "/drop/share",
    "/drop/revoke",
    "/drop/revoke-all",
    "/drop/request",
    "/drop/close",
    "/drop/accept",
    "/drop/reject",
    "/job/stop",
    "/settings/language",
    "/settings/schedule",
    "/settings/sign-out",
    "/settings/sign-out-all",
];

#[test]
fn nobody_sees_or_does_anything_before_they_sign_in() {
    let house = House::new();
    house.configure_simply();
    let stranger = house.stranger();
    for path in SCREENS {
        let reply = stranger.get(path);
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!reply.text().contains("disk"), "{path}");
    }
    for path in DEEDS {
        let reply = stranger.post(path, &[("do", "install")]);
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let mut guessing = house.stranger();
    guessing.cookie =
        Some("ravelin-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned());
    assert_eq!(guessing.get("/").status, StatusCode::UNAUTHORIZED);
}

#[test]
fn another_name_of_this_machine_is_not_served() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    let cookie = visitor.cookie.clone().unwrap();
    for host in [
        "evil.example",
        "evil.example:7848",
        "127.0.0.1",
        "127.0.0.1:80",
        "localhost.:7848",
        "localhost:7848.evil.example",
        "2130706433:7848",
        "127.1:7848",
        "0:7848",
        "[::1]:7848",
        "127.0.0.1:7848@evil.example",
        "",
    ] {
        for path in ["/", "/assets/style.css", "/sign-in", "/nowhere"] {
            let request = axum::http::Request::builder()
                .uri(path)
                .header("host", host)
                .header("cookie", &cookie);
            let reply = visitor.send(request.body(Body::empty()).unwrap());
            assert_eq!(
                reply.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{host} {path}"
            );
        }
    }
    let bare = axum::http::Request::builder().uri("/").body(Body::empty());
    let reply = visitor.send(bare.unwrap());
    assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST);
    let two = axum::http::Request::builder()
        .uri("/")
        .header("host", HOST)
        .header("host", "evil.example");
    let reply = visitor.send(two.body(Body::empty()).unwrap());
    assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST);
    let absolute = axum::http::Request::builder()
        .uri("http://evil.example/")
        .header("host", HOST);
    let reply = visitor.send(absolute.body(Body::empty()).unwrap());
    assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST);
}

#[test]
fn another_page_cannot_make_the_browser_do_anything() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    let ours = format!("http://{HOST}");
    let foreign: &[&[(&str, &str)]] = &[
        &[],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:8000")],
        &[("origin", "https://127.0.0.1:7848")],
        &[("origin", &ours), ("sec-fetch-site", "cross-site")],
        &[("origin", &ours), ("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("referer", "http://evil.example/http://127.0.0.1:7848/")],
        &[("referer", "http://127.0.0.1:78480/")],
    ];
    let form = encoded(&[("token", &visitor.token)]);
    for headers in foreign {
        for path in DEEDS {
            let mut request = axum::http::Request::builder()
                .method("POST")
                .uri(*path)
                .header("host", HOST)
                .header("cookie", visitor.cookie.as_ref().unwrap())
                .header("content-type", "application/x-www-form-urlencoded");
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let reply = visitor.send(request.body(Body::from(form.clone())).unwrap());
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{headers:?} {path}");
        }
    }
    assert!(
        visitor
            .get("/activity")
            .text()
            .contains("Nothing has happened yet")
    );
}

#[test]
fn a_form_of_another_session_or_another_kind_is_refused() {
    let house = House::new();
    house.configure_simply();
    let (visitor, other) = (house.visitor(), house.visitor());
    assert_ne!(visitor.token, other.token);
    let mut thief = house.stranger();
    thief.cookie.clone_from(&visitor.cookie);
    for token in ["", "x", &other.token] {
        thief.token = token.to_owned();
        for path in DEEDS {
            let reply = thief.post(path, &[]);
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        }
    }
    for kind in ["text/plain", "application/json", "multipart/form-data"] {
        let request = visitor
            .request("POST", "/backup")
            .header("content-type", kind);
        let body = Body::from(encoded(&[("token", &visitor.token)]));
        let reply = visitor.send(request.body(body).unwrap());
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    let huge = Body::from(vec![b'a'; 300 * 1024]);
    let request = visitor
        .request("POST", "/backup")
        .header("content-type", "application/x-www-form-urlencoded");
    let reply = visitor.send(request.body(huge).unwrap());
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn looking_changes_nothing() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    for path in DEEDS {
        let reply = visitor.get(path);
        assert!(
            matches!(
                reply.status,
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::SEE_OTHER | StatusCode::OK
            ),
            "{path}: {}",
            reply.status
        );
    }
    assert_eq!(visitor.get("/").status, StatusCode::OK);
    visitor
        .get("/activity")
        .must_say("Nothing has happened yet");
    let link = house.page.invite().unwrap();
    let path = link.strip_prefix(&format!("http://{HOST}")).unwrap();
    let stranger = house.stranger();
    for _ in 0..2 {
        let reply = stranger.get(path);
        assert_eq!(
            reply.header("set-cookie"),
            "",
            "a preview must not use a link up"
        );
    }
}

#[test]
fn every_answer_forbids_frames_foreign_code_and_guessing_of_types() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    for path in ["/", "/sign-in", "/nowhere", "/assets/page.js", "/backup"] {
        let reply = visitor.get(path);
        let policy = reply.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(reply.header("access-control-allow-origin"), "");
        let kept = reply.header("cache-control");
        assert_eq!(
            kept.contains("no-store"),
            !path.starts_with("/assets"),
            "{path}"
        );
    }
}

#[test]
fn the_cookie_is_for_us_alone_and_new_at_each_sign_in() {
    let house = House::new();
    let mut stranger = house.stranger();
    stranger.cookie = Some("ravelin-session=chosen-by-somebody-else".to_owned());
    let link = house.page.invite().unwrap();
    let secret = link.split("link=").nth(1).unwrap();
    let reply = stranger.post("/sign-in", &[("link", secret)]);
    let cookie = reply.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("chosen"), "{cookie}");
    assert_eq!(stranger.get("/").status, StatusCode::UNAUTHORIZED);
    let again = stranger.post("/sign-in", &[("link", secret)]);
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
}

#[test]
fn sessions_end_when_they_are_revoked() {
    let house = House::new();
    house.configure_simply();
    let (one, other, third) = (house.visitor(), house.visitor(), house.visitor());
    one.post("/settings/sign-out", &[]);
    assert_eq!(one.get("/").status, StatusCode::UNAUTHORIZED);
    assert_eq!(other.get("/").status, StatusCode::OK);
    other.post("/settings/sign-out-all", &[]);
    for gone in [&other, &third] {
        assert_eq!(gone.get("/").status, StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn guessing_links_makes_everybody_wait() {
    let house = House::new();
    let stranger = house.stranger();
    for _ in 0..5 {
        let reply = stranger.post("/sign-in", &[("link", "guess")]);
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
    let reply = stranger.post("/sign-in", &[("link", "guess")]);
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(reply.header("retry-after").parse::<u32>().unwrap() > 0);
}

#[test]
fn the_terminal_is_not_flooded_with_links() {
    let house = House::new();
    let stranger = house.stranger();
    assert_eq!(
        stranger.post("/sign-in/link", &[]).status,
        StatusCode::SEE_OTHER
    );
    let reply = stranger.post("/sign-in/link", &[]);
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(house.links.lock().unwrap().len(), 1);
}

#[test]
fn from_other_machines_the_password_lets_in_and_the_cookie_needs_tls() {
    let listen = "0.0.0.0:7848".parse().unwrap();
    let address = Address::new(listen, Some("https://backup.example.org"), true).unwrap();
    let house = House::at(address);
    ravelin_web::set_password("correct horse battery", house.page.machine()).unwrap();
    assert!(ravelin_web::set_password("short", house.page.machine()).is_err());
    let stranger = house.stranger();
    let enter = |password: &str| {
        let request = axum::http::Request::builder()
            .method("POST")
            .uri("/sign-in")
            .header("host", "backup.example.org")
            .header("origin", "https://backup.example.org")
            .header("content-type", "application/x-www-form-urlencoded");
        let form = encoded(&[("password", password)]);
        stranger.send(request.body(Body::from(form)).unwrap())
    };
    assert_eq!(enter("").status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        enter("wrong horse battery").status,
        StatusCode::UNAUTHORIZED
    );
    let reply = enter("correct horse battery");
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert!(reply.header("set-cookie").contains("; Secure"));
    let kept = house.home().join(".local/state/ravelin/page/password");
    assert!(!fs::read_to_string(kept).unwrap().contains("horse"));
}

#[test]
fn no_path_leads_out_of_what_is_served() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    for path in [
        "/assets/../../etc/passwd",
        "/assets/..%2f..%2fetc%2fpasswd",
        "/assets/%252e%252e/page.rs",
        "/assets/..%5c..%5cetc",
        "/assets/%00",
        "//etc/passwd",
        "/etc/passwd",
        "/assets/",
        "/job?id=../../etc/passwd",
        "/job?id=",
        // What cannot be a path of a snapshot: `../etc`, `/etc/passwd`, a NUL, and no base64.
        "/restore/browse?layer=disk&path=Li4vZXRj",
        "/restore/browse?layer=disk&path=L2V0Yy9wYXNzd2Q",
        "/restore/download?layer=disk&path=Li4vZXRj",
        "/restore/download?layer=disk&path=YQBi",
        "/restore/versions?path=!!",
    ] {
        let reply = visitor.get(path);
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!reply.text().contains("root:"), "{path}");
    }
    let reply = visitor.get("/?told=%3Cscript%3Ealert(1)%3C/script%3E");
    assert!(!reply.text().contains("<script>alert"));
}

/// Whatever breaks while a screen is made: the guest hears nothing of how the program is built, and the
/// next one is served.
#[test]
fn a_panic_is_an_answer_without_a_trace_and_the_page_lives_on() {
    let (house, visitor) = protected();
    for path in SCREENS {
        let sound = visitor.get(path).status;
        assert_ne!(sound, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        let mut asked = 0;
        loop {
            house.break_clock_after(asked);
            let reply = visitor.get(path);
            if reply.status == sound {
                break;
            }
            assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
            let text = reply.text();
            for trace in ["panick", ".rs", "on purpose", "thread", "stack"] {
                assert!(!text.contains(trace), "{path}: {text}");
            }
            assert_eq!(visitor.get(path).status, sound, "{path} after {asked}");
            asked += 1;
        }
        house.break_clock_after(u64::MAX);
        // Each of them looks at the clock at least for the session.
        assert!(asked > 0, "{path}");
    }
}

/// A job that breaks is over, says so, and the next one begins.
#[test]
fn a_job_that_panics_is_over() {
    let (house, visitor) = protected();
    let mut broken = 0;
    for asked in 1..30 {
        house.break_clock_after(asked);
        let begun = visitor.post("/backup", &[]);
        if begun.status != StatusCode::SEE_OTHER {
            continue;
        }
        let since = Instant::now();
        let ended = loop {
            // The look at it may be what breaks.
            let reply = visitor.get(begun.header("location"));
            if reply.status.is_success() && !reply.text().contains("hx-trigger") {
                break reply.text();
            }
            assert!(since.elapsed() < Duration::from_secs(60), "{asked}");
            std::thread::sleep(Duration::from_millis(10));
        };
        broken += usize::from(ended.contains("broke an assumption of its own"));
    }
    house.break_clock_after(u64::MAX);
    assert!(broken > 0);
    visitor.do_and_wait("/backup", &[]).must_say("Backed up");
}
