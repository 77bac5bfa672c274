//! The same world over real servers: SFTP, WebDAV and S3.
//!
//! Fewer operations than in memory, as each asks a real program over a real connection.

use std::sync::Arc;

use ravelin_drop::Folder;
use store::{Environment, Location, Store};
use testkit::servers;

use crate::bench::{Machine, at, environment, plain};
use crate::chaos;

const OPERATIONS: u64 = 120;

fn open(location: &str, environment: &Environment) -> Arc<dyn Store> {
    let location: Location = location.parse().unwrap();
    store::open(&location, environment).unwrap()
}

/// What one device does to the other, once each; a large file and an empty one are among it.
fn journey(store: &Arc<dyn Store>) {
    Folder::create(&**store, &environment()).unwrap();
    let (laptop, desktop) = (Machine::new("laptop"), Machine::new("desktop"));
    let both = |seconds: i64| {
        laptop.sync(store, at(seconds));
        desktop.sync(store, at(seconds + 1));
        laptop.sync(store, at(seconds + 2));
        assert_eq!(laptop.files(), desktop.files());
        assert_eq!(laptop.files(), plain(&**store));
    };
    let large: Vec<u8> = (0..6_u32 << 18).flat_map(u32::to_le_bytes).collect();
    laptop.write("large", &large);
    laptop.write("a/empty", b"");
    laptop.write("caf\u{e9}", b"composed");
    laptop.write("cafe\u{301}", b"decomposed");
    laptop.write("Case", b"upper");
    laptop.write("case", b"lower");
    laptop.write("report.odt", b"first");
    desktop.write("100% #?&+.txt", b"signs");
    both(0);
    assert_eq!(laptop.files().len(), 8);
    laptop.write("report.odt", b"from the laptop");
    desktop.write("report.odt", b"from the desktop");
    desktop.remove("case");
    laptop.remove("a/empty");
    both(10);
    let files = laptop.files();
    assert_eq!(files["report.odt"], b"from the laptop");
    let copy = "report (conflict desktop 2027-01-15 08.00.11).odt";
    assert_eq!(files[copy], b"from the desktop");
    let mut folder = desktop.folder(Arc::clone(store)).unwrap();
    let deleted = folder.deleted().unwrap();
    assert_eq!(deleted.len(), 2);
    let last = folder.last_content(&deleted[1].path).unwrap();
    folder.restore(&last, at(20)).unwrap();
    both(30);
    assert_eq!(laptop.read("case").unwrap(), b"lower");
    assert_eq!(folder.verify().unwrap(), []);
}

#[test]
fn over_sftp_devices_stay_the_same_and_lose_nothing() {
    let Some((_server, config)) = servers::sshd() else {
        return;
    };
    let ssh = format!("ssh -F {}", config.display());
    let mut environment = environment();
    environment.variable = Arc::new(move |name| (name == "RAVELIN_SSH").then(|| ssh.clone()));
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        open(&format!("sftp://store{}", path.display()), &environment)
    };
    journey(&place("journey"));
    chaos::run(place("chaos"), 2, OPERATIONS);
}

#[test]
fn over_webdav_devices_stay_the_same_and_lose_nothing() {
    let Some(server) = servers::wsgidav() else {
        return;
    };
    let place = |name: &str| {
        let location = format!("webdav+http://me:pw@127.0.0.1:{}/{name}", server.port);
        open(&location, &environment())
    };
    journey(&place("journey"));
    chaos::run(place("chaos"), 2, OPERATIONS);
}

#[test]
fn over_s3_devices_stay_the_same_and_lose_nothing() {
    let Some(server) = servers::seaweed() else {
        return;
    };
    let place = |name: &str| {
        let location = format!(
            "s3+http://key:secret@127.0.0.1:{}/bucket/{name}",
            server.port
        );
        open(&location, &environment())
    };
    journey(&place("journey"));
    chaos::run(place("chaos"), 2, OPERATIONS);
}
