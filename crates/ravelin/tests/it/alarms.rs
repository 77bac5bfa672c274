//! Alarms from the program itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use snapbox::str;

use crate::bench::Bench;

#[test]
fn the_local_mail_program_gets_what_there_is_to_be_told_and_prometheus_its_numbers() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
         store = \"~/repository\"\nencryption = \"none\"\n\n\
         [[notify]]\nemail = \"ada@example.org\"\nfrom = \"backup@example.org\"\n\n\
         [metrics]\nfile = \"~/ravelin.prom\"\n",
    );
    bench.file("Documents/letter", "dear");
    let sendmail = bench.file("bin/sendmail", "#!/bin/sh\ncat > \"$HOME/mail\"\n");
    fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", sendmail.parent().unwrap().display());
    // There is no layer yet, so the backup fails, and somebody hears of it.
    bench
        .ravelin(["backup"])
        .env("PATH", &path)
        .assert()
        .code(1);
    let read = || {
        let mail = fs::read_to_string(bench.home().join("mail")).unwrap();
        let (head, body) = mail.split_once("\n\n").unwrap();
        let body: String = body.lines().collect();
        let body = STANDARD.decode(body).unwrap();
        (head.to_owned(), String::from_utf8(body).unwrap())
    };
    let (head, body) = read();
    assert!(head.contains("To: ada@example.org\n"), "{head}");
    assert!(body.contains("[layer-not-created]"), "{body}");
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["backup"])
        .env("PATH", &path)
        .assert()
        .success();
    let (_, body) = read();
    assert!(body.starts_with("Last good backup: "), "{body}");
    let numbers = fs::read_to_string(bench.home().join("ravelin.prom")).unwrap();
    for line in [
        "ravelin_layers_good 1\n",
        "# TYPE ravelin_layer_good gauge\n",
        "ravelin_layer_good{layer=\"disk\",kind=\"borg\"} 1\n",
        "ravelin_layer_problems{layer=\"disk\",kind=\"borg\"} 0\n",
    ] {
        assert!(numbers.contains(line), "{numbers}");
    }
}

#[test]
fn an_alarm_that_cannot_be_sent_fails_no_backup_and_is_shown() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n[layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\n\
         encryption = \"none\"\n[[notify]]\non = [\"success\"]\nwebhook = \"http://127.0.0.1:1/secret\"\n",
    );
    bench.file("Documents/letter", "dear");
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["backup"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
warning: webhook at 127.0.0.1:1 could not be told: 127.0.0.1:1: [..]

"#]]);
    bench
        .ravelin(["status"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
...
The last alarm did not arrive: webhook at 127.0.0.1:1: 127.0.0.1:1: [..]
...
"#]]);
}
