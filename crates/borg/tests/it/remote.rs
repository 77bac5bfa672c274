//! Our client at one end of the line, the stock program at the other.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use borg::{
    Access, Archives, Compression, Encryption, Error, Home, Host, Intake, Location, NewArchive,
    OpenOptions, Passphrase, RepositoryOptions, Statistics, Trust,
};
use jiff::Timestamp;
use testkit::{StockBorg, Tree, rsh_stand_in};
use tree::{Options, Source, read_ahead};

const PASSPHRASE: &str = "a passphrase";

fn home(stock: &StockBorg) -> Home {
    Home::from_environment(stock.base_dir(), |_| None)
}

/// The repository at `path`, behind a line that runs through a command.
fn behind(path: &Path, stock: &StockBorg, scratch: &Path, through: &str) -> Location {
    let rsh = rsh_stand_in(scratch, through);
    let location: Location = format!("ssh://nas{}", path.display()).parse().unwrap();
    location.through(
        Some(rsh.display().to_string()),
        Some(stock.program().display().to_string()),
    )
}

fn create(location: &Location, stock: &StockBorg, encryption: Encryption, now: Timestamp) {
    let options = RepositoryOptions::new([1; 32]);
    let passphrase = Passphrase::new(PASSPHRASE);
    let host = Host::this_machine();
    Archives::create(
        location,
        &home(stock),
        &host,
        encryption,
        &passphrase,
        &options,
        now,
    )
    .unwrap();
}

fn open(location: &Location, stock: &StockBorg, access: Access) -> Result<Archives, Error> {
    let options = OpenOptions {
        lock_wait: Duration::from_secs(30),
        ..OpenOptions::new(access, &Host::this_machine())
    };
    let passphrase = Passphrase::new(PASSPHRASE);
    let trust = Trust {
        unknown_unencrypted: true,
        relocated: true,
        ..Trust::default()
    };
    Archives::open(location, &home(stock), &options, &passphrase, trust)
}

fn back_up(
    archives: Archives,
    name: &str,
    root: &Path,
    checkpoint_interval: Duration,
    now: Timestamp,
) -> Result<Statistics, Error> {
    let new = NewArchive {
        hostname: "host".into(),
        username: "user".into(),
        cmdline: vec!["ravelin".into()],
        compression: "none".parse::<Compression>().unwrap(),
        checkpoint_interval: Some(checkpoint_interval),
        ..NewArchive::new(name, now)
    };
    let intake = Intake::begin(archives, new, &Host::this_machine())?;
    let source = Source {
        roots: vec![root.to_owned()],
        ..Source::default()
    };
    read_ahead(
        &source,
        Options::default(),
        |entry| intake.wants(entry),
        |step| match intake.take(step) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        },
    )
    .unwrap();
    intake.commit().map(|(_, statistics)| statistics)
}

const NEVER: Duration = Duration::from_secs(100_000);

#[test]
fn a_repository_of_each_encryption_is_made_and_filled_through_the_stock_server() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock.with_passphrase(PASSPHRASE);
    let tree = Tree::new(31).sizes();
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    for encryption in [
        Encryption::None,
        Encryption::RepokeyBlake2,
        Encryption::Keyfile,
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("repository");
        let location = behind(&path, &stock, scratch.path(), "");
        create(&location, &stock, encryption, now);
        let archives = open(&location, &stock, Access::Write).unwrap();
        let first = back_up(archives, "first", tree.path(), NEVER, now).unwrap();
        assert!(first.unique_csize > 0);
        let archives = open(&location, &stock, Access::Write).unwrap();
        let second = back_up(archives, "second", tree.path(), NEVER, now).unwrap();
        assert_eq!(second.unique_csize, 0, "{encryption}");
        assert_eq!(second.totals.size, first.totals.size);
        // The stock program agrees with all of it, and so do we, when we read it back.
        let repository = path.to_str().unwrap();
        let stock = stock.with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        stock.run(["check", "--verify-data", repository]);
        assert_eq!(
            stock.run(["list", "--short", repository]),
            "first\nsecond\n"
        );
        let archives = open(&location, &stock, Access::Read).unwrap();
        let archive = archives.archive(b"first").unwrap();
        let mut size = 0;
        archives
            .items(&archive, |item| {
                for chunk in item.chunks.iter().flatten() {
                    size += archives.read(&chunk.id)?.len() as u64;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(size, first.totals.size);
    }
}

#[test]
fn what_the_server_says_no_to_has_the_same_name_as_on_this_machine() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock.with_passphrase(PASSPHRASE);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("repository");
    let location = behind(&path, &stock, scratch.path(), "");
    let missing = open(&location, &stock, Access::Read);
    assert!(matches!(missing, Err(Error::DoesNotExist { .. })));
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    create(&location, &stock, Encryption::Repokey, now);
    let archives = open(&location, &stock, Access::Write).unwrap();
    let unknown = archives.read(&borg::Id([9; 32]));
    assert!(matches!(unknown, Err(Error::ObjectNotFound { id }) if id.0 == [9; 32]));
    let options = OpenOptions {
        lock_wait: Duration::from_millis(100),
        ..OpenOptions::new(Access::Write, &Host::this_machine())
    };
    let locked = borg::Backend::open(&location, &options);
    assert!(matches!(locked, Err(Error::Locked { .. })), "{locked:?}");
    let Err(error) = open(
        &location.clone().through(Some("false".into()), None),
        &stock,
        Access::Read,
    ) else {
        panic!("nobody is there")
    };
    assert!(matches!(error, Error::NoServer { .. }), "{error}");
    let Err(error) = open(
        &location
            .clone()
            .through(Some("no-such-program".into()), None),
        &stock,
        Access::Read,
    ) else {
        panic!("nobody is there")
    };
    assert!(error.to_string().contains("no-such-program"), "{error}");
    let talker = location.through(Some("echo Welcome!".into()), None);
    let Err(error) = open(&talker, &stock, Access::Read) else {
        panic!("that is no server")
    };
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[test]
fn a_line_that_is_cut_anywhere_leaves_no_lock_and_the_next_run_goes_on_from_the_checkpoint() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock
        .with_passphrase(PASSPHRASE)
        .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    let tree = Tree::new(32);
    let mut random = testkit::Random::new(33);
    let size = 24 << 20;
    for number in 0..12 {
        let mut content = vec![0; size / 12];
        random.fill(&mut content);
        std::fs::write(tree.path().join(format!("file-{number}")), content).unwrap();
    }
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("repository");
    let repository = path.to_str().unwrap();
    create(
        &behind(&path, &stock, scratch.path(), ""),
        &stock,
        Encryption::RepokeyBlake2,
        now,
    );
    for (round, bytes) in [100_000, 9_000_000, 16_000_000].into_iter().enumerate() {
        let cut = behind(
            &path,
            &stock,
            scratch.path(),
            &format!("stdbuf -o0 head -c {bytes} |"),
        );
        let archives = open(&cut, &stock, Access::Write).unwrap();
        let name = format!("round-{round}");
        let error = back_up(archives, &name, tree.path(), Duration::ZERO, now).unwrap_err();
        assert!(
            matches!(error, Error::ConnectionLost { .. }),
            "{bytes}: {error}"
        );
        // At the first try, with no more patience than for a server that is just going away.
        let whole = behind(&path, &stock, scratch.path(), "");
        let archives = open(&whole, &stock, Access::Write).unwrap();
        let names: Vec<_> = archives
            .list()
            .iter()
            .map(|(name, _)| name.to_vec())
            .collect();
        assert!(!names.contains(&name.into_bytes()), "{names:?}");
    }
    let whole = behind(&path, &stock, scratch.path(), "");
    let archives = open(&whole, &stock, Access::Write).unwrap();
    let last = back_up(archives, "last", tree.path(), NEVER, now).unwrap();
    assert_eq!(last.totals.size, size as u64);
    assert!(
        last.unique_csize < size as u64 / 2,
        "{} bytes were sent again",
        last.unique_csize
    );
    stock.run(["check", "--verify-data", repository]);
}
