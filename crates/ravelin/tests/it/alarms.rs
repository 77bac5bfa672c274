//! Alarms from the program itself, over lines that are really protected.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::str;
use testkit::MailLine;

use crate::bench::Bench;

fn config(scheme: &str, port: u16) -> String {
    format!(
        "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
         store = \"~/repository\"\nencryption = \"none\"\n\n\
         [[notify]]\nemail = \"ada@example.org\"\nfrom = \"backup@example.org\"\n\
         smtp = \"{scheme}://ada@localhost:{port}\"\npassword = {{ file = \"~/password\" }}\n\n\
         [metrics]\nfile = \"~/ravelin.prom\"\n"
    )
}

#[test]
fn mail_goes_over_tls_to_a_server_that_is_who_it_says() {
    for (line, scheme) in [(MailLine::Tls, "smtps"), (MailLine::StartTls, "smtp")] {
        let Some(server) = testkit::mail_server(line) else {
            return;
        };
        let bench = Bench::new();
        bench.file(
            ".config/ravelin/ravelin.toml",
            &config(scheme, server.port()),
        );
        let password = bench.file("password", "correct horse\n");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let test = || bench.ravelin(["notify", "--test", "--verbose"]);
        // Nobody vouches for the certificate: the password is not sent.
        let refused = test().assert().code(1);
        let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(said.contains("certificate"), "{said}");
        assert_eq!(server.mails(), [""; 0]);
        test()
            .env("SSL_CERT_FILE", server.certificate())
            .assert()
            .success()
            .stderr_eq(str![[r#"
1 message delivered

"#]]);
        let mails = server.mails();
        assert_eq!(mails.len(), 1);
        assert!(
            mails[0].starts_with("TLS: True\nLogin: ada\n"),
            "{}",
            mails[0]
        );
        assert!(mails[0].contains("Subject: "), "{}", mails[0]);
    }
}

#[test]
fn the_local_mail_program_gets_what_there_is_to_be_told_and_prometheus_its_numbers() {
    let bench = Bench::new();
    let lines = config("smtp", 1);
    let lines: Vec<&str> = lines
        .lines()
        .filter(|line| !line.starts_with("smtp") && !line.starts_with("password"))
        .collect();
    bench.file(".config/ravelin/ravelin.toml", &lines.join("\n"));
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
    let mail = fs::read_to_string(bench.home().join("mail")).unwrap();
    assert!(mail.contains("To: ada@example.org\n"), "{mail}");
    assert!(mail.contains("[layer-not-created]"), "{mail}");
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["backup"])
        .env("PATH", &path)
        .assert()
        .success();
    let mail = fs::read_to_string(bench.home().join("mail")).unwrap();
    assert!(mail.contains("is good again"), "{mail}");
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
