//! Numbers for Prometheus.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use axum::body::Body;
use axum::http::StatusCode;

use crate::visitor::{House, Reply, Visitor};

fn scrape(stranger: &Visitor, token: Option<&str>) -> Reply {
    let mut request = stranger.request("GET", "/metrics");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    stranger.send(request.body(Body::empty()).unwrap())
}

#[test]
fn a_program_gets_the_numbers_for_its_token_and_nobody_else_does() {
    let house = House::new();
    let stranger = house.stranger();
    assert_eq!(scrape(&stranger, Some("x")).status, StatusCode::NOT_FOUND);
    house.configure_simply();
    // Whoever is signed in gets none either where there is no such address.
    assert_eq!(
        house.visitor().get("/metrics").status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(scrape(&stranger, Some("")).status, StatusCode::NOT_FOUND);

    house.write("token", "open sesame\n");
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(house.home().join("token"), private).unwrap();
    let config = fs::read_to_string(house.config_file()).unwrap();
    house.configure(&format!(
        "{config}\n[metrics]\ntoken = {{ file = \"~/token\" }}\n"
    ));
    for wrong in [None, Some(""), Some("open"), Some("open sesame!")] {
        let reply = scrape(&stranger, wrong);
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        assert!(!reply.text().contains("ravelin_"), "{wrong:?}");
    }
    let numbers = scrape(&stranger, Some("open sesame"));
    assert_eq!(numbers.status, StatusCode::OK);
    assert!(
        numbers
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    numbers
        .must_say("# TYPE ravelin_layer_good gauge\n")
        .must_say("ravelin_layer_good{layer=\"disk\",kind=\"borg\"} 0\n");
    // A token that is gone lets nobody in, not even with nothing.
    fs::remove_file(house.home().join("token")).unwrap();
    assert_eq!(scrape(&stranger, Some("")).status, StatusCode::UNAUTHORIZED);
}
