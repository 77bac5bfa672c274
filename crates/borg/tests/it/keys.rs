//! Keys change, move and are copied, and the stock program opens them at every step.

use std::fs;

use borg::{
    Access, Archives, Encryption, Error, Host, KeyError, KeyForm, KeyStorage, OpenOptions,
    Passphrase, Trust, export_key, import_key,
};

use crate::workshop::{PASSPHRASE, Workshop, hour};

fn host() -> Host {
    Host::this_machine()
}

fn open_with(shop: &Workshop, passphrase: &str) -> Result<Archives, Error> {
    Archives::open(
        &shop.repository,
        &shop.home(),
        &OpenOptions::new(Access::Write, &host()),
        &Passphrase::new(passphrase),
        Trust::default(),
    )
}

fn with_one_archive(encryption: Encryption) -> Option<Workshop> {
    let shop = Workshop::new(encryption)?;
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    shop.back_up("one", source.path(), hour(1));
    Some(shop)
}

#[test]
fn a_new_passphrase_opens_the_key_and_the_former_one_does_not() {
    for encryption in [Encryption::RepokeyBlake2, Encryption::Keyfile] {
        let Some(shop) = with_one_archive(encryption) else {
            return;
        };
        let mut archives = shop.open();
        archives
            .change_passphrase(&Passphrase::new("another"))
            .unwrap();
        drop(archives);
        let former = open_with(&shop, PASSPHRASE);
        assert!(
            matches!(former, Err(Error::Key(KeyError::WrongPassphrase))),
            "{former:?}"
        );
        assert_eq!(open_with(&shop, "another").unwrap().list().len(), 1);
        let stock = shop.stock.with_passphrase("another");
        assert!(stock.run(["list", shop.location()]).contains("one"));
    }
}

#[test]
fn a_key_moves_into_a_file_and_back() {
    let Some(shop) = with_one_archive(Encryption::RepokeyBlake2) else {
        return;
    };
    let keys = shop.home().keys;
    let passphrase = Passphrase::new(PASSPHRASE);
    for (number, (to, files)) in (2..).zip([
        (KeyStorage::File, 1),
        (KeyStorage::File, 1),
        (KeyStorage::Repository, 0),
        (KeyStorage::File, 1),
    ]) {
        shop.open()
            .move_key(to, &passphrase, &host(), hour(number))
            .unwrap();
        let count = fs::read_dir(&keys).map_or(0, Iterator::count);
        assert_eq!(count, files, "{to:?}");
        let config = fs::read_to_string(shop.repository.join("config")).unwrap();
        let has_key = config.lines().any(|line| line.starts_with('\t'));
        assert_eq!(has_key, to == KeyStorage::Repository, "{config}");
        shop.judge();
        assert_eq!(shop.open().list().len(), 1);
    }
    let info = shop.stock.run(["info", shop.location()]);
    assert!(info.contains("key file BLAKE2b"), "{info}");
}

#[test]
fn copies_of_the_key_are_those_of_the_stock_program_and_come_back() {
    for encryption in [Encryption::RepokeyBlake2, Encryption::KeyfileBlake2] {
        let Some(shop) = with_one_archive(encryption) else {
            return;
        };
        let theirs = shop.scratch.path().join("theirs");
        let theirs = theirs.to_str().unwrap();
        let export = |form| export_key(&shop.repository, &shop.home(), &host(), form).unwrap();
        let (file, paper) = (export(KeyForm::File), export(KeyForm::Paper));
        shop.stock.run(["key", "export", shop.location(), theirs]);
        assert_eq!(
            file.trim_end(),
            fs::read_to_string(theirs).unwrap().trim_end()
        );
        shop.stock
            .run(["key", "export", "--paper", shop.location(), theirs]);
        assert_eq!(
            paper.trim_end(),
            fs::read_to_string(theirs).unwrap().trim_end()
        );
        for copy in [&file, &paper] {
            // The key is lost.
            match encryption.key_storage() {
                KeyStorage::File => fs::remove_dir_all(shop.home().keys).unwrap(),
                _ => shop.open().backend().save_key("").unwrap(),
            }
            assert!(matches!(open_with(&shop, PASSPHRASE), Err(Error::Key(_))));
            let import = |copy: &str, passphrase: &str| {
                let passphrase = Passphrase::new(passphrase);
                import_key(&shop.repository, &shop.home(), &host(), copy, &passphrase)
            };
            let wrong = import(copy, "another");
            assert!(
                matches!(wrong, Err(Error::Key(KeyError::WrongPassphrase))),
                "{wrong:?}"
            );
            import(copy, PASSPHRASE).unwrap();
            assert_eq!(shop.open().list().len(), 1);
            assert!(shop.stock.run(["list", shop.location()]).contains("one"));
        }
    }
}

#[test]
fn the_key_of_another_repository_is_refused() {
    let (Some(one), Some(other)) = (
        with_one_archive(Encryption::RepokeyBlake2),
        with_one_archive(Encryption::Repokey),
    ) else {
        return;
    };
    for form in [KeyForm::File, KeyForm::Paper] {
        let copy = export_key(&other.repository, &other.home(), &host(), form).unwrap();
        let passphrase = Passphrase::new(PASSPHRASE);
        let result = import_key(&one.repository, &one.home(), &host(), &copy, &passphrase);
        assert!(
            matches!(
                result,
                Err(Error::Key(KeyError::OtherRepository { .. }) | Error::Paper { .. })
            ),
            "{result:?}"
        );
    }
    assert_eq!(one.open().list().len(), 1);
}
