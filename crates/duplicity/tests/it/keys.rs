//! Archives encrypted to keys of GnuPG, both ways with the real programs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use duplicity::{Error, Gpg, Protection, Wanted};
use ravelin_duplicity as duplicity;

use crate::support::{Place, assert_same, in_archive, on_disk};

/// A key ring of its own with two keys without passphrases.
struct Ring {
    home: tempfile::TempDir,
}

impl Ring {
    fn new() -> Option<Self> {
        testkit::require("gpg")?;
        let home = tempfile::Builder::new().prefix("gnupg-").tempdir().unwrap();
        let ring = Self { home };
        for name in ["one@example.org", "two@example.org"] {
            // A primary key that signs and a subkey that is encrypted to, as people have them.
            ring.gpg(&[
                "--batch",
                "--passphrase",
                "",
                "--quick-generate-key",
                name,
                "future-default",
                "default",
                "never",
            ]);
        }
        Some(ring)
    }

    fn gpg(&self, arguments: &[&str]) -> Output {
        let output = Command::new("gpg")
            .env("GNUPGHOME", self.home.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    fn protection(&self, recipient: &str, sign: Option<&str>, hidden: bool) -> Protection {
        let mut gpg = Gpg {
            home: Some(self.home.path().to_owned()),
            ..Gpg::default()
        };
        if hidden {
            gpg.hidden_recipients.push(recipient.to_owned());
        } else {
            gpg.recipients.push(recipient.to_owned());
        }
        gpg.sign_key = sign.map(|name| self.fingerprint(name));
        Protection::Gpg(Box::new(gpg))
    }

    fn fingerprint(&self, name: &str) -> String {
        let output = self.gpg(&["--with-colons", "--list-keys", name]);
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The agent would outlive its home.
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.home.path())
            .args(["--kill", "all"])
            .output();
    }
}

fn small(place: &Place) {
    place.write("a", "one");
    place.write("big", testkit::Random::new(1).noise(300_000));
    fs::create_dir(place.path("source/empty")).unwrap();
}

fn real(ring: &Ring, real: &testkit::StockDuplicity, arguments: &[&str], target: &Path) {
    let mut command = real.command(arguments);
    command
        .arg(target)
        .env("GNUPGHOME", ring.home.path())
        .env("PASSPHRASE", "");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn an_archive_for_a_key_is_read_by_the_real_program_and_by_us() {
    let (Some(ring), Some(stock)) = (Ring::new(), testkit::stock_duplicity()) else {
        return;
    };
    for (sign, hidden) in [
        (None, false),
        (None, true),
        (Some("two@example.org"), false),
    ] {
        let place = Place::new();
        small(&place);
        let archive = place.archive(ring.protection("one@example.org", sign, hidden));
        place.back_up(&archive, Wanted::Full, 0);
        place.write("a", "two");
        place.back_up(&archive, Wanted::Increment, 1);
        let state = on_disk(&place.path("source"));
        fs::remove_dir_all(place.path("cache")).unwrap();
        assert_same(&in_archive(&archive, 1, "").0, &state);
        let url = format!("file://{}", place.path("store").display());
        let key = sign.map(|name| ring.fingerprint(name));
        let mut arguments = vec!["restore", &url];
        if let Some(key) = &key {
            arguments.extend(["--sign-key", key]);
        }
        real(&ring, &stock, &arguments, &place.path("restored"));
        assert_same(&on_disk(&place.path("restored")), &state);
    }
}

#[test]
fn a_signature_that_is_asked_for_must_be_there() {
    let Some(ring) = Ring::new() else { return };
    let place = Place::new();
    small(&place);
    let unsigned = place.archive(ring.protection("one@example.org", None, false));
    place.back_up(&unsigned, Wanted::Full, 0);
    fs::remove_dir_all(place.path("cache")).unwrap();
    for protection in [
        ring.protection("one@example.org", Some("two@example.org"), false),
        ring.protection("one@example.org", Some("one@example.org"), false),
    ] {
        let archive = place.archive(protection);
        let collection = archive.collection(crate::support::at(9)).unwrap();
        let error = archive.manifest(collection.chains[0].full()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Gpg {
                    source: duplicity::GpgError::NotSigned { .. },
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn a_manifest_that_is_cut_off_or_changed_is_damage_and_a_key_that_is_missing_is_none() {
    let Some(ring) = Ring::new() else { return };
    let place = Place::new();
    small(&place);
    let archive = place.archive(ring.protection("one@example.org", None, false));
    place.back_up(&archive, Wanted::Full, 0);
    let names = place.store_names();
    let name = names.iter().find(|name| name.contains("manifest")).unwrap();
    let file = place.path("store").join(name);
    let whole = fs::read(&file).unwrap();
    let look = |protection: Protection, content: &[u8]| {
        fs::write(&file, content).unwrap();
        let _ = fs::remove_dir_all(place.path("cache"));
        let archive = place.archive(protection);
        let collection = archive.collection(crate::support::at(9)).unwrap();
        archive.manifest(collection.chains[0].full())
    };
    let ours = || ring.protection("one@example.org", None, false);
    let is_damage = |content: &[u8]| match look(ours(), content) {
        Err(error) => (error.is_damage(), format!("{error:?}")),
        Ok(manifest) => panic!("{manifest:?}"),
    };
    let end = whole.len();
    for size in (0..end).step_by(end / 16).chain([1, 3, end - 1]) {
        let (is_damage, error) = is_damage(&whole[..size]);
        assert!(is_damage, "{size} of {end}: {error}");
    }
    for at in [end - 60, end - 30, end - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 0x11;
        let (is_damage, error) = is_damage(&changed);
        assert!(is_damage, "{at} of {end}: {error}");
    }
    assert!(is_damage(&vec![0; end]).0);
    assert!(look(ours(), &whole).is_ok());
    // The secret key is on another machine; no agent can be asked; what is there may be damaged then or not.
    let empty = tempfile::Builder::new().prefix("gnupg-").tempdir().unwrap();
    let elsewhere = |home: &Path, option: &str| {
        Protection::Gpg(Box::new(Gpg {
            home: Some(home.to_owned()),
            options: vec![option.into()],
            ..Gpg::default()
        }))
    };
    let _ = Command::new("gpgconf")
        .env("GNUPGHOME", ring.home.path())
        .args(["--kill", "all"])
        .output();
    for content in [&whole[..], &whole[..end - 1]] {
        for home in [empty.path(), ring.home.path()] {
            let error = look(elsewhere(home, "--no-autostart"), content).unwrap_err();
            assert!(matches!(error, Error::Gpg { .. }), "{error:?}");
        }
    }
}
