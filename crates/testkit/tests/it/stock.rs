//! The stock programs answer.

use ravelin_testkit as testkit;

#[test]
fn stock_borg_is_the_release_that_we_judge_by() {
    let Some(borg) = testkit::stock_borg() else {
        return;
    };
    assert_eq!(borg.run(["--version"]).trim(), "borg 1.4.5");
}

#[test]
fn stock_borg_keeps_a_repository_in_its_own_base_directory() {
    let Some(borg) = testkit::stock_borg() else {
        return;
    };
    let borg = borg.with_passphrase("correct horse");
    let scratch = tempfile::tempdir().unwrap();
    let repository = scratch.path().join("repository");
    std::fs::write(scratch.path().join("file"), "content").unwrap();

    borg.run([
        "init".as_ref(),
        "--encryption=keyfile".as_ref(),
        repository.as_os_str(),
    ]);
    let archive = format!("{}::first", repository.display());
    borg.run_in(scratch.path(), ["create", &archive, "file"]);

    assert_eq!(borg.run(["list", "--short", &archive]), "file\n");
    assert!(borg.base_dir().join(".config/borg/keys").is_dir());
}

#[test]
fn the_modules_of_stock_borg_can_be_used_from_a_script() {
    let Some(borg) = testkit::stock_borg() else {
        return;
    };
    let script = "import sys; from borg.constants import MAX_OBJECT_SIZE; print(MAX_OBJECT_SIZE, sys.argv[1])";
    assert_eq!(borg.run_python(script, ["x"]), "20971520 x\n");
}

#[test]
fn two_clients_do_not_share_what_they_know() {
    let (Some(one), Some(other)) = (testkit::stock_borg(), testkit::stock_borg()) else {
        return;
    };
    assert_ne!(one.base_dir(), other.base_dir());
}

#[test]
fn stock_duplicity_encrypts_to_a_folder_and_back() {
    let Some(duplicity) = testkit::stock_duplicity() else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let (source, back) = (scratch.path().join("source"), scratch.path().join("back"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "content").unwrap();
    let store = format!("file://{}", scratch.path().join("store").display());

    let mut backup = duplicity.command(["full".as_ref(), source.as_os_str(), store.as_ref()]);
    let said = testkit::run(backup.env("PASSPHRASE", "correct horse"));
    assert!(said.contains("Errors 0"), "{said}");
    let mut restore = duplicity.command(["restore".as_ref(), store.as_ref(), back.as_os_str()]);
    let _ = testkit::run(restore.env("PASSPHRASE", "correct horse"));

    assert_eq!(
        std::fs::read_to_string(back.join("file")).unwrap(),
        "content"
    );
    let version = testkit::run(std::process::Command::new(duplicity.program()).arg("--version"));
    assert!(version.starts_with("duplicity 3.2.1"), "{version}");
}

#[test]
fn a_missing_program_is_a_failure_in_ci() {
    if testkit::in_ci() {
        assert!(std::panic::catch_unwind(|| testkit::missing("it", "no reason")).is_err());
    } else {
        testkit::missing("a program that nobody has", "this line belongs to a test");
    }
}
