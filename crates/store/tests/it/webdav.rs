//! WebDAV against WsgiDAV, and against rclone, which ignores PUT's preconditions.

use ravelin_store::conformance::URL_MARKS;
use ravelin_store::{ErrorKind, Name, WriteMode, open};

use crate::conformance::{broken, check, environment, tidies};
use testkit::servers::{holds, rclone_serve, wsgidav};

#[test]
fn wsgidav_keeps_the_contract() {
    let Some(server) = wsgidav() else { return };
    let location = format!(
        "webdav+http://me:pw@127.0.0.1:{}/deep/fol%20der",
        server.port
    );
    let store = open(&location.parse().unwrap(), &environment()).unwrap();
    // It cuts a destination at a question mark, encoded or not, and at a semicolon.
    let broken = broken(&*store);
    assert!(
        broken.iter().all(|check| check.rule == URL_MARKS),
        "{broken:#?}"
    );
    let name = Name::new("x/ü").unwrap();
    store.write(&name, b"plain", WriteMode::Create).unwrap();
    assert!(holds(
        &server.folder.path().join("data/deep/fol der/x/ü"),
        b"plain"
    ));
    tidies(&*store, &server.folder.path().join("data/deep/fol der"));
    // A folder is not an object: asking to delete it must not take what is in it.
    let folder = Name::new("x").unwrap();
    store.delete(&folder).unwrap();
    store.stat(&name).unwrap();
    // Nor does an object of its name, which a MOVE would put in the place of all that.
    let error = store
        .write(&folder, b"over it", WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    store.stat(&name).unwrap();
    // What it would cut is refused, and takes no other's place.
    let cut = Name::new("x/ü?z").unwrap();
    let error = store.write(&cut, b"cut", WriteMode::Replace).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(holds(
        &server.folder.path().join("data/deep/fol der/x/ü"),
        b"plain"
    ));

    let location = format!("webdav+http://me:wrong@127.0.0.1:{}/deep", server.port);
    let store = open(&location.parse().unwrap(), &environment()).unwrap();
    let error = store.stat(&name).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn);
    assert!(!format!("{error:?}").contains("wrong"));
}

#[test]
fn rclone_keeps_the_contract_though_it_ignores_preconditions() {
    let Some(server) = rclone_serve("webdav", &["--user", "me", "--pass", "pw"]) else {
        return;
    };
    let location = format!("webdav+http://me:pw@127.0.0.1:{}/", server.port);
    check(&*open(&location.parse().unwrap(), &environment()).unwrap());
}
