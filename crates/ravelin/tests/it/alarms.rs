//! Alarms from the program itself, over lines that are really protected.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::str;
use testkit::MailLine;

use crate::bench::Bench;

fn config(server: &str) -> String {
    format!(
        "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
         store = \"~/repository\"\nencryption = \"none\"\n\n\
         [[notify]]\nemail = \"ada@example.org\"\nfrom = \"backup@example.org\"\n{server}\n\
         [metrics]\nfile = \"~/ravelin.prom\"\n"
    )
}

/// A bench whose mail goes to `server` with the password that it knows ada by.
fn bench_with_server(server: &str) -> Bench {
    let bench = Bench::new();
    let server = format!("smtp = \"{server}\"\npassword = {{ file = \"~/password\" }}\n");
    bench.file(".config/ravelin/ravelin.toml", &config(&server));
    let password = bench.file("password", "correct horse\n");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    bench
}

#[test]
fn mail_goes_over_tls_to_a_server_that_is_who_it_says() {
    for (line, scheme) in [(MailLine::Tls, "smtps"), (MailLine::StartTls, "smtp")] {
        let Some(server) = testkit::mail_server(line) else {
            return;
        };
        let port = server.port();
        let send = |host: &str, authority: bool| {
            let bench = bench_with_server(&format!("{scheme}://ada@{host}:{port}"));
            let mut command = bench.ravelin(["notify", "--test", "--verbose"]);
            if authority {
                command = command.env("SSL_CERT_FILE", server.authority());
            }
            let assert = command.assert();
            let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            (assert.get_output().status.code(), said)
        };
        // Nobody vouches for the certificate; somebody does, but for another name.
        for (host, authority) in [("localhost", false), ("127.0.0.1", true)] {
            let (code, said) = send(host, authority);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("certificate"), "{said}");
        }
        assert_eq!(server.logins(), [""; 0], "a password was sent");
        assert_eq!(server.mails(), [""; 0]);
        let (code, said) = send("localhost", true);
        assert_eq!((code, said.as_str()), (Some(0), "1 message delivered\n"));
        let [mail] = &server.mails()[..] else {
            panic!("{:?}", server.mails());
        };
        assert!(mail.starts_with("TLS: True\nLogin: ada\n"), "{mail}");
        assert!(mail.contains("Subject: "), "{mail}");
    }
}

#[test]
fn a_server_without_tls_gets_neither_the_password_nor_the_mail() {
    let Some(server) = testkit::mail_server(MailLine::Plain) else {
        return;
    };
    let bench = bench_with_server(&format!("smtp://ada@localhost:{}", server.port()));
    let refused = bench.ravelin(["notify", "--test"]).assert().code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("STARTTLS"), "{said}");
    assert_eq!(server.logins(), [""; 0]);
    assert_eq!(server.mails(), [""; 0]);
}

#[test]
fn the_local_mail_program_gets_what_there_is_to_be_told_and_prometheus_its_numbers() {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", &config(""));
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
