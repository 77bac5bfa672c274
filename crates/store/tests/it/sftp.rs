//! SFTP against OpenSSH, through the person's own `ssh`; rclone as a helper program.

use std::sync::Arc;
use std::time::Duration;

use ravelin_store::{Environment, ErrorKind, Name, Patience, Store, WriteMode, open, read_all};

use crate::conformance::{check, environment, tidies};
use testkit::servers::{Server, holds, rclone_serve, sshd};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn with_ssh(config: &std::path::Path) -> Environment {
    let mut environment = environment();
    let ssh = format!("ssh -F {}", config.display());
    environment.variable =
        Arc::new(move |variable| (variable == "RAVELIN_SSH").then(|| ssh.clone()));
    environment
}

#[test]
fn openssh_keeps_the_contract() {
    let Some((server, config)) = sshd() else {
        return;
    };
    let environment = with_ssh(&config);
    let data = server.folder.path().join("data");
    let location = format!("sftp://store/{}/deep/fol%20der", data.display());
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    check(&*store);
    store
        .write(&name("x/ü"), b"plain", WriteMode::Create)
        .unwrap();
    assert!(holds(&data.join("deep/fol der/x/ü"), b"plain"));
    assert!(store.space().unwrap().unwrap().free > 0);
    tidies(&*store, &data.join("deep/fol der"));
    // Eight threads and all of the above went through one connection.
    assert_eq!(environment.counters.get("ssh connect"), 1);
}

#[test]
fn a_server_that_went_away_is_found_again() {
    let Some((server, config)) = sshd() else {
        return;
    };
    let mut environment = with_ssh(&config);
    environment.patience = Patience {
        total: Duration::from_secs(20),
        wait_first: Duration::from_millis(50),
        ..Patience::default()
    };
    let location = format!(
        "sftp://store/{}",
        server.folder.path().join("data").display()
    );
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    for id in processes_with(&config) {
        assert!(
            std::process::Command::new("kill")
                .arg(id.to_string())
                .status()
                .unwrap()
                .success()
        );
    }
    assert_eq!(read_all(&*store, &name("a"), 10).unwrap(), b"1");
    assert_eq!(environment.counters.get("ssh connect"), 2);
}

/// The `ssh` processes that use this test's own configuration.
fn processes_with(config: &std::path::Path) -> Vec<u32> {
    let config = config.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            arguments
                .split(|byte| *byte == 0)
                .any(|argument| argument == config.as_bytes())
        })
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect()
}

#[test]
fn an_unknown_host_and_a_wrong_key_are_told_apart() {
    let Some((server, config)) = sshd() else {
        return;
    };
    let location = format!(
        "sftp://store/{}",
        server.folder.path().join("data").display()
    );
    let text = std::fs::read_to_string(&config).unwrap();
    for (change, kind) in [
        ("UserKnownHostsFile /dev/null #", ErrorKind::Denied),
        ("IdentityFile /dev/null #", ErrorKind::SignIn),
    ] {
        let key = change.split(' ').next().unwrap();
        let changed: String = text
            .lines()
            .map(|line| {
                if line.contains(key) {
                    format!("  {change}\n")
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        std::fs::write(&config, changed).unwrap();
        let store = open(&location.parse().unwrap(), &with_ssh(&config)).unwrap();
        let error = store.stat(&name("x")).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
    }
}

/// A login script that greets breaks the protocol at its first byte, and the connection stays open.
#[test]
fn a_login_script_that_prints_is_named_at_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("ssh");
    // It ignores what it is asked, and would go on for minutes.
    std::fs::write(
        &script,
        "#!/bin/sh\necho 'Welcome to the machine'\nexec sleep 300\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut environment = environment();
    let ssh = script.display().to_string();
    environment.variable =
        Arc::new(move |variable| (variable == "RAVELIN_SSH").then(|| ssh.clone()));
    let store = open(&"sftp://me@host/data".parse().unwrap(), &environment).unwrap();
    let begun = std::time::Instant::now();
    let error = store.stat(&name("x")).unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "it waited for an `ssh` that has no reason to end"
    );
    assert_eq!(error.kind, ErrorKind::Invalid);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("login script"), "{source}");
}

/// An SSH server that asks for a password, `not-for-all` of user `me`, and a configuration for `ssh`.
fn with_password() -> Option<(Server, std::path::PathBuf)> {
    testkit::require("ssh")?;
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("host");
    let mut make = std::process::Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    assert!(make.status().unwrap().success());
    let key_option = format!("--key={}", key.display());
    let server = rclone_serve(
        "sftp",
        &["--user", "me", "--pass", "not-for-all", &key_option],
    )?;
    let host_key = std::fs::read_to_string(keys.path().join("host.pub")).unwrap();
    let path = |name: &str| server.folder.path().join(name);
    let line = format!("[127.0.0.1]:{} {host_key}", server.port);
    std::fs::write(path("known_hosts"), line).unwrap();
    let text = format!(
        "Host store unknown\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile /dev/null\n  IdentitiesOnly yes\n\
         Host store\n  UserKnownHostsFile {}\nHost unknown\n  UserKnownHostsFile /dev/null\n",
        server.port,
        path("known_hosts").display(),
    );
    std::fs::write(path("ssh_config"), text).unwrap();
    let config = path("ssh_config");
    Some((server, config))
}

#[test]
fn a_password_is_given_to_ssh_and_to_nobody_else() {
    let Some((_server, config)) = with_password() else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let mut environment = with_ssh(&config);
    environment.state = Some(state.path().into());
    environment.patience = Patience::NONE;
    let at = |location: &str| open(&location.parse().unwrap(), &environment).unwrap();
    let store = at("sftp://me:not-for-all@store/");
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    assert_eq!(read_all(&*store, &name("a"), 10).unwrap(), b"1");
    for id in processes_with(&config) {
        let read = |what: &str| std::fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        let seen = [read("cmdline"), read("environ")].concat();
        assert!(!seen.is_empty() && !seen.windows(11).any(|part| part == b"not-for-all"));
    }
    // What asked for the password is gone with the question.
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);

    let error = at("sftp://me:wrong@store/").stat(&name("a")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn, "{error:?}");
    assert!(!format!("{error:?}").contains("wrong"));
    // An unknown host never gets it.
    let error = at("sftp://me:not-for-all@unknown/")
        .stat(&name("a"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn rclone_as_a_helper_keeps_what_it_claims() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("rclone.conf");
    std::fs::write(
        &config,
        format!(
            "[box]\ntype = alias\nremote = {}\n",
            folder.path().join("data").display()
        ),
    )
    .unwrap();
    // A script, since the configuration is rclone's own business.
    let script = folder.path().join("rclone");
    let text = format!(
        "#!/bin/sh\nexec '{}' --config '{}' \"$@\"\n",
        programs.program("rclone").display(),
        config.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut environment = environment();
    let script = script.to_str().unwrap().to_owned();
    environment.variable =
        Arc::new(move |variable| (variable == "RAVELIN_RCLONE").then(|| script.clone()));
    check(&*open(&"rclone:box:sub/dir".parse().unwrap(), &environment).unwrap());
}
