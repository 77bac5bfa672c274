//! Several programs at once on one repository, the stock program among them: each gets its turn,
//! nobody is stuck, and every snapshot is whole.
//!
//! Eight at once with a backup each; 20 each under `RAVELIN_TESTS=full`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;

use snapbox::cmd::cargo_bin;

use crate::bench::Bench;

#[test]
fn programs_that_write_and_read_at_once_wait_for_each_other_and_all_is_whole() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock.with_passphrase("known to both");
    let (programs, rounds) = match std::env::var("RAVELIN_TESTS") {
        Ok(value) if value == "full" => (8, 20),
        _ => (8, 1),
    };
    let bench = Bench::new();
    let passphrase = bench.file("passphrase", "known to both");
    fs::set_permissions(passphrase, Permissions::from_mode(0o600)).unwrap();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/source\"]\n\n[layer.disk]\nkind = \"borg\"\n\
         store = \"~/repository\"\nlock-wait = \"300 s\"\n\
         passphrase = { file = \"~/passphrase\" }\n",
    );
    for number in 0..30 {
        bench.file(
            &format!("source/{number}"),
            &format!("{number}").repeat(3000),
        );
    }
    // Each has a memory of its own, as on machines of their own: one of those does one backup at a
    // time.
    let ravelin = |program: usize, arguments: &[&str]| {
        let mut command = Command::new(cargo_bin!("ravelin"));
        stock.settle(&mut command);
        command
            .args(arguments)
            .env("HOME", bench.home())
            .env(
                "XDG_STATE_HOME",
                bench.home().join(format!("state-{program}")),
            )
            .env_remove("XDG_CONFIG_HOME")
            .current_dir(bench.home());
        testkit::run(&mut command)
    };
    ravelin(0, &["init"]);
    let repository = bench.home().join("repository");
    let repository = repository.to_str().unwrap();
    let ravelin = &ravelin;
    let (stock, bench) = (&stock, &bench);
    thread::scope(|scope| {
        for program in 0..programs {
            scope.spawn(move || {
                for round in 0..rounds {
                    bench.file(
                        &format!("source/{program}"),
                        &format!("{round}").repeat(5000),
                    );
                    match program % 4 {
                        3 => {
                            let archive = format!("{repository}::stock-{program}-{round}");
                            let source = bench.home().join("source");
                            let source = source.to_str().unwrap();
                            let output =
                                stock.output(["create", "--lock-wait", "300", &archive, source]);
                            // A file that another one is writing may have changed: a warning.
                            let code = output.status.code();
                            assert!(matches!(code, Some(0 | 1)), "{output:?}");
                        }
                        _ => drop(ravelin(program, &["backup"])),
                    }
                    // A reader among the writers.
                    drop(ravelin(program, &["ls", "latest", "/"]));
                }
            });
        }
    });
    let list = stock.run(["list", "--short", "--lock-wait", "300", repository]);
    assert_eq!(list.lines().count(), programs * rounds, "{list}");
    stock.run(["check", "--verify-data", repository]);
    ravelin(0, &["verify", "--data"]);
    ravelin(0, &["repair", "--dry-run", "--data"]);
    for name in ["lock.exclusive", "lock.roster"] {
        assert!(!bench.home().join("repository").join(name).exists());
    }
}
