//! Who is told what, when, and how: against servers that write down what arrives.

use std::fs;
use std::path::Path;

use ravelin_engine::config::Notify;
use ravelin_engine::notify::Notified;
use ravelin_engine::{Config, Schedule};
use testkit::emulator::{Inbox, Letter, Trouble};

use crate::memory::Fault;
use crate::workshop::{Workshop, wait_hours, wait_minutes};

/// A workshop whose news go where the lines of `[[notify]]` say.
fn workshop(lines: &[&str]) -> Workshop {
    let mut workshop = Workshop::new(&["disk"]);
    workshop.config.verify.structure = Schedule::Manual;
    workshop.config.verify.data = Schedule::Manual;
    workshop.config.verify.drill = Schedule::Manual;
    workshop.config.layers[0].schedule = Schedule::parse("hourly").unwrap();
    workshop.config.notify = receivers(&workshop, lines);
    workshop.write("a", "one");
    workshop
}

fn receivers(workshop: &Workshop, lines: &[&str]) -> Vec<Notify> {
    let mut text = String::from(
        "[[source]]\npaths = [\"~\"]\n[layer.disk]\nkind = \"borg\"\nstore = \"/r\"\nencryption = \"none\"\n",
    );
    for lines in lines {
        text.push_str(&format!("[[notify]]\n{lines}\n"));
    }
    let config = Config::parse(&text, Path::new("r.toml"), &workshop.machine.places);
    config.unwrap().notify
}

fn notify(workshop: &Workshop) -> Notified {
    workshop.with(|context, _| ravelin_engine::notify::notify(context).unwrap())
}

fn titles(letters: &[Letter]) -> Vec<String> {
    letters
        .iter()
        .map(|letter| letter.json()["title"].as_str().unwrap_or("").to_owned())
        .collect()
}

#[test]
fn a_failure_is_told_once_and_each_day_and_its_end_to_those_who_heard_of_it() {
    let inbox = Inbox::start();
    let mut workshop = workshop(&[&format!("webhook = \"{}/hook\"", inbox.url())]);
    workshop.run_due();
    assert_eq!(inbox.take(), [], "success is silence");
    workshop.faults.insert("disk".to_owned(), Fault::Begin);
    let mut heard = Vec::new();
    // Two days, a try every few hours.
    for _ in 0..2 * 24 {
        wait_hours(1);
        assert_eq!(workshop.run_due().undelivered, []);
        heard.extend(inbox.take());
    }
    assert_eq!(titles(&heard), ["nas: layer disk was not backed up"; 2]);
    let news = heard[0].json();
    assert_eq!(news["occasion"], "failure");
    assert_eq!(news["layer"], "disk");
    let text = news["text"].as_str().unwrap();
    assert!(
        text.contains("[disk-full]") && text.contains("Next: "),
        "{text}"
    );
    assert!(
        text.contains("Last good backup: 2026-11-24 07:30"),
        "{text}"
    );
    workshop.faults.clear();
    wait_hours(7);
    workshop.run_due();
    wait_hours(1);
    workshop.run_due();
    assert_eq!(titles(&inbox.take()), ["nas: layer disk is good again"]);
}

#[test]
fn who_wants_less_hears_less() {
    let inbox = Inbox::start();
    let url = inbox.url();
    let mut workshop = workshop(&[
        &format!("webhook = \"{url}/recovered\"\non = [\"recovered\"]"),
        &format!("webhook = \"{url}/failure\"\non = [\"failure\"]"),
        &format!("webhook = \"{url}/success\"\non = [\"success\"]"),
    ]);
    for _ in 0..2 {
        workshop.run_due();
        wait_hours(7);
        workshop.faults.insert("disk".to_owned(), Fault::Begin);
        workshop.run_due();
        wait_hours(7);
        workshop.faults.clear();
        workshop.run_due();
        wait_hours(7);
    }
    let paths: Vec<String> = inbox.take().into_iter().map(|letter| letter.path).collect();
    // The first never heard of a failure, so it is not told of its end. To the second, the second
    // failure is a new one.
    let expected = [
        "/success", "/failure", "/success", "/success", "/failure", "/success",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn what_could_not_be_delivered_is_tried_again_and_never_fails_a_backup() {
    let inbox = Inbox::start();
    let mut workshop = workshop(&[
        &format!("webhook = \"{}/hook\"", inbox.url()),
        "webhook = \"http://127.0.0.1:1/nobody\"",
    ]);
    workshop.run_due();
    workshop.faults.insert("disk".to_owned(), Fault::Begin);
    inbox.faults.next("/hook", Trouble::Status(503, None));
    wait_hours(1);
    let due = workshop.run_due();
    assert_eq!(due.undelivered.len(), 2, "{:?}", due.undelivered);
    assert!(
        due.undelivered[0].reason.contains("503"),
        "{:?}",
        due.undelivered
    );
    assert_eq!(inbox.take(), []);
    let undelivered = ravelin_engine::notify::undelivered(&workshop.machine);
    assert_eq!(undelivered, due.undelivered);
    wait_minutes(1);
    let told = notify(&workshop);
    assert_eq!((told.delivered, told.undelivered.len()), (1, 1));
    assert_eq!(inbox.take().len(), 1);
    assert_eq!(notify(&workshop).delivered, 0);
    workshop.faults.clear();
    wait_hours(7);
    assert_eq!(
        workshop.run_due().outcome(),
        Some(ravelin_engine::Outcome::Good)
    );
}

#[test]
fn silence_is_noticed_without_any_run() {
    let inbox = Inbox::start();
    let workshop = workshop(&[&format!("webhook = \"{}/hook\"", inbox.url())]);
    // A layer that was never backed up gets two days.
    for _ in 0..3 {
        assert_eq!(notify(&workshop).delivered, 0);
        wait_hours(23);
    }
    assert_eq!(titles(&inbox.take()), [""; 0]);
    notify(&workshop);
    assert_eq!(
        titles(&inbox.take()),
        ["nas: layer disk got no backup for too long"]
    );
    workshop.run_due();
    assert_eq!(titles(&inbox.take()), ["nas: layer disk is good again"]);
    // The schedule dies; the small timer lives.
    let mut heard = Vec::new();
    for hour in 0..60 {
        wait_hours(1);
        notify(&workshop);
        heard.extend(
            inbox
                .take()
                .into_iter()
                .map(|letter| (hour, letter.json()["occasion"].clone())),
        );
    }
    assert_eq!(heard, [(25, "stale".into()), (49, "stale".into())]);
}

#[test]
fn files_that_cannot_be_read_are_told_once() {
    let inbox = Inbox::start();
    let mut workshop = workshop(&[&format!("webhook = \"{}/hook\"", inbox.url())]);
    let missing = workshop.source().with_file_name("missing");
    workshop.config.sources[0].paths.push(missing);
    for _ in 0..60 {
        workshop.run_due();
        wait_hours(1);
    }
    let heard = inbox.take();
    assert_eq!(
        titles(&heard),
        ["nas: layer disk was backed up without some files"]
    );
}

#[test]
fn the_digest_comes_once_a_week() {
    let inbox = Inbox::start();
    let line = format!("webhook = \"{}/hook\"\non = [\"digest\"]", inbox.url());
    let workshop = workshop(&[&line]);
    let mut heard = Vec::new();
    for day in 0..30 {
        workshop.run_due();
        heard.extend(inbox.take().into_iter().map(|letter| (day, letter)));
        wait_hours(24);
    }
    let days: Vec<i32> = heard.iter().map(|(day, _)| *day).collect();
    assert_eq!(days, [7, 14, 21, 28]);
    assert_eq!(heard[0].1.json()["title"], "nas: protected");
}

#[test]
fn a_dead_man_switch_gets_the_start_the_end_and_the_log() {
    let inbox = Inbox::start();
    let line = format!("healthchecks = \"{}/ping/uuid\"", inbox.url());
    let mut workshop = workshop(&[&line]);
    workshop.run_due();
    let letters = inbox.take();
    let paths: Vec<&str> = letters.iter().map(|letter| letter.path.as_str()).collect();
    assert_eq!(paths, ["/ping/uuid/start", "/ping/uuid"]);
    assert_eq!(letters[0].query["rid"], letters[1].query["rid"]);
    assert_eq!(letters[0].query["rid"].len(), 36);
    assert!(
        letters[1].body.contains("disk: nas-2026-11-24T07:30:00"),
        "{}",
        letters[1].body
    );
    // Nothing to do: no ping.
    workshop.run_due();
    assert_eq!(inbox.take(), []);
    wait_hours(1);
    workshop.faults.insert("disk".to_owned(), Fault::Begin);
    workshop.run_due();
    let letters = inbox.take();
    assert_eq!(letters[1].path, "/ping/uuid/fail");
    assert!(
        letters[1].body.contains("[disk-full]"),
        "{}",
        letters[1].body
    );
}

#[test]
fn each_service_is_spoken_to_in_its_own_way() {
    let inbox = Inbox::start();
    let url = inbox.url();
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, content: String| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, private).unwrap();
        path.display().to_string()
    };
    let chat = |name: &str, address: String| {
        format!(
            "chat = {{ file = \"{}\" }}",
            secret(name, format!("{address}?server={url}"))
        )
    };
    let token = secret("token", "tk_secret".to_owned());
    let workshop = workshop(&[
        &format!("ntfy = \"{url}/topic\"\ntoken = {{ file = \"{token}\" }}"),
        &chat("slack", "slack://T0/B0/XX".to_owned()),
        &chat("discord", "discord://42/dtoken".to_owned()),
        &chat("telegram", "telegram://123:abc@-100200".to_owned()),
        &chat(
            "matrix",
            "matrix://mtoken@home.example/!room:home.example".to_owned(),
        ),
        &format!(
            "webhook = \"{url}/plain\"\ncontent-type = \"text/plain\"\ntemplate = \"{{title}}!\""
        ),
    ]);
    let told = workshop.with(|context, _| ravelin_engine::notify::test(context));
    assert_eq!(told.undelivered, []);
    let letters = inbox.take();
    let [ntfy, slack, discord, telegram, matrix, plain] = letters.as_slice() else {
        panic!("{letters:?}");
    };
    assert_eq!((ntfy.path.as_str(), ntfy.method.as_str()), ("/", "POST"));
    assert_eq!(ntfy.json()["topic"], "topic");
    assert_eq!(ntfy.json()["title"], "nas: a test by ravelin");
    assert_eq!(ntfy.headers["authorization"], "Bearer tk_secret");
    assert_eq!(slack.path, "/services/T0/B0/XX");
    assert!(
        slack.json()["text"]
            .as_str()
            .unwrap()
            .starts_with("nas: a test")
    );
    assert_eq!(discord.path, "/api/webhooks/42/dtoken");
    assert!(
        discord.json()["content"]
            .as_str()
            .unwrap()
            .starts_with("nas: a test")
    );
    assert_eq!(telegram.path, "/bot123:abc/sendMessage");
    assert_eq!(telegram.json()["chat_id"], "-100200");
    assert_eq!(matrix.method, "PUT");
    let room = "/_matrix/client/v3/rooms/!room:home.example/send/m.room.message/";
    assert!(matrix.path.starts_with(room), "{}", matrix.path);
    assert_eq!(matrix.headers["authorization"], "Bearer mtoken");
    assert_eq!(matrix.json()["msgtype"], "m.text");
    assert_eq!(plain.body, "nas: a test by ravelin!");
}

#[test]
fn a_real_mail_server_gets_the_mail() {
    let Some(server) = testkit::mail_server(testkit::MailLine::Plain) else {
        return;
    };
    let line = format!(
        "email = \"ada@example.org\"\nsmtp = \"smtp://localhost:{}\"",
        server.port()
    );
    let mut workshop = workshop(&[&line]);
    workshop.machine.host = "schönes-nas".to_owned();
    workshop.faults.insert("disk".to_owned(), Fault::Begin);
    let due = workshop.run_due();
    // A machine whose name cannot stand in an address needs a `from`.
    assert_eq!(due.undelivered.len(), 1, "{:?}", due.undelivered);
    workshop.config.notify = receivers(
        &workshop,
        &[&format!("{line}\nfrom = \"backup@example.org\"")],
    );
    let told = notify(&workshop);
    assert_eq!(told.undelivered, []);
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert!(mail.contains("To: ada@example.org"), "{mail}");
    assert!(mail.contains("backup@example.org"), "{mail}");
    assert!(
        mail.contains("Date: ") && mail.contains("Message-ID: "),
        "{mail}"
    );
    assert!(mail.contains("[disk-full]"), "{mail}");
}
