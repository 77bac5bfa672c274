//! SFTP against OpenSSH, through the person's own `ssh`; rclone as a helper program.

use std::sync::Arc;
use std::time::Duration;

use ravelin_store::{Environment, ErrorKind, Name, Patience, Store, WriteMode, open, read_all};

use crate::conformance::{check, environment};
use crate::servers::{holds, sshd};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn with_ssh(config: &std::path::Path) -> Environment {
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
