//! The ways on which a message travels.
//!
//! Each gets a bounded time, no answer is followed to another place, and no error shows more of an
//! address than its host: the rest may be a secret.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{SmtpTransport, Transport};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use ureq::Agent;

use super::Message;
use crate::config::{Security, Sender, Smtp};
use crate::event::chain;
use crate::{Machine, program};

/// How long one message may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest body of a ping, in bytes: what Healthchecks keeps.
const PING_SIZE_MAX: usize = 100_000;

/// What a receiver is called: enough to tell it apart, and no secret.
pub(super) fn name(sender: &Sender) -> String {
    match sender {
        Sender::Ntfy { url, .. } => format!("ntfy at {}", host(url)),
        Sender::Webhook { url, .. } => format!("webhook at {}", host(url)),
        Sender::Healthchecks { url } => format!("healthchecks at {}", host(url)),
        Sender::Email { to, .. } => format!("mail to {to}"),
        Sender::Desktop => "the desktop".to_owned(),
        Sender::Chat { address } => format!("chat {address}"),
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

/// Delivers a message, or says why not.
pub(super) fn send(sender: &Sender, message: &Message, machine: &Machine) -> Result<(), String> {
    match sender {
        Sender::Ntfy { url, token } => {
            let token = match token {
                Some(token) => Some(
                    machine
                        .keeper()
                        .fetch(token)
                        .map_err(|error| error.to_string())?,
                ),
                None => None,
            };
            ntfy(url, token.as_ref().map(crate::Secret::expose), message)
        }
        Sender::Webhook {
            url,
            template,
            content_type,
        } => {
            let body = webhook_body(template.as_deref(), content_type, message);
            post(url, content_type, body.as_bytes(), &[])
        }
        Sender::Healthchecks { url } => ping(url, "/log", "", &message.text),
        Sender::Email { to, from, smtp } => {
            let user = format!("{}@{}", machine.user, machine.host);
            let from = from.clone().or_else(|| user.parse().ok());
            let from = from.ok_or("say in `from` who seems to write the mail")?;
            let mail = mail(
                Mailbox::new(Some("Ravelin".to_owned()), from),
                Mailbox::new(None, to.clone()),
                message,
            )?;
            match smtp {
                Some(smtp) => through_smtp(smtp, &mail, machine),
                None => through_sendmail(&mail),
            }
        }
        Sender::Desktop => desktop(message),
        Sender::Chat { address } => {
            let address = machine
                .keeper()
                .fetch(address)
                .map_err(|error| error.to_string())?;
            chat(address.expose(), message)
        }
    }
}

fn agent() -> Agent {
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
        .build();
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(PATIENCE))
        .user_agent(concat!("ravelin/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .new_agent()
}

/// Gives a body to an address.
fn post(
    url: &str,
    content_type: &str,
    body: &[u8],
    headers: &[(&str, &str)],
) -> Result<(), String> {
    let mut request = agent().post(url).header("content-type", content_type);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    judge(url, request.send(body))
}

fn judge(
    url: &str,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<(), String> {
    let host = host(url);
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) if answer.status().is_redirection() => {
            Err(format!("{host} sends on to another address: use that"))
        }
        Ok(mut answer) => {
            let status = answer.status();
            let text = answer.body_mut().with_config().limit(2000).read_to_string();
            let text: String = text.unwrap_or_default().escape_debug().take(200).collect();
            Err(format!("{host} answers {status}: {text}")
                .trim_end_matches([':', ' '])
                .to_owned())
        }
        // The library's words may hold the address.
        Err(ureq::Error::Timeout(_)) => Err(format!("{host} does not answer")),
        Err(ureq::Error::Io(error)) => Err(format!("{host}: {error}")),
        Err(ureq::Error::HostNotFound) => Err(format!("{host} is not known")),
        Err(ureq::Error::ConnectionFailed) => Err(format!("{host} cannot be reached")),
        Err(ureq::Error::Tls(what)) => Err(format!("{host}: no safe line: {what}")),
        Err(ureq::Error::Rustls(error)) => Err(format!("{host}: no safe line: {error}")),
        Err(_) => Err(format!("{host} was not understood")),
    }
}

/// A ping of Healthchecks and the services that speak like it.
///
/// `suffix` is `/start`, `/fail`, `/log`, or nothing for success; `id` pairs start and end.
pub(super) fn ping(url: &str, suffix: &str, id: &str, body: &str) -> Result<(), String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut full = format!("{}{suffix}", base.trim_end_matches('/'));
    let mut separator = '?';
    if !query.is_empty() {
        let _ = write!(full, "?{query}");
        separator = '&';
    }
    if !id.is_empty() {
        let _ = write!(full, "{separator}rid={id}");
    }
    let body = body.as_bytes();
    let body = body.get(..PING_SIZE_MAX).unwrap_or(body);
    post(&full, "text/plain; charset=utf-8", body, &[])
}

/// A random id in the form that services take for one (UUID, version 4).
pub(super) fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Published as JSON, because a header cannot hold every title.
fn ntfy(url: &str, token: Option<&str>, message: &Message) -> Result<(), String> {
    let (server, topic) = url
        .trim_end_matches('/')
        .rsplit_once('/')
        .filter(|(server, topic)| !server.ends_with('/') && !topic.is_empty())
        .ok_or("the address has no topic: https://SERVER/TOPIC")?;
    let body = json!({
        "topic": topic,
        "title": message.title,
        "message": message.text,
        "priority": if message.is_urgent() { 4 } else { 3 },
        "tags": [if message.is_urgent() { "warning" } else { "white_check_mark" }],
    });
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    post(
        server,
        "application/json",
        body.to_string().as_bytes(),
        &headers,
    )
}

/// The template with its places filled in, or JSON of everything.
fn webhook_body(template: Option<&str>, content_type: &str, message: &Message) -> String {
    let occasion = message
        .occasion
        .map_or("test", crate::config::Occasion::name);
    let Some(template) = template else {
        return json!({
            "occasion": occasion,
            "host": message.host,
            "layer": message.layer,
            "at": message.at,
            "title": message.title,
            "text": message.text,
        })
        .to_string();
    };
    let at = message.at.to_string();
    let layer = message.layer.as_deref().unwrap_or_default();
    let places = [
        ("{title}", message.title.as_str()),
        ("{text}", &message.text),
        ("{host}", &message.host),
        ("{layer}", layer),
        ("{occasion}", occasion),
        ("{at}", &at),
    ];
    let is_json = content_type.contains("json");
    // One pass: what is filled in is never filled in again.
    let mut body = String::new();
    let mut rest = template;
    while let Some(brace) = rest.find('{') {
        let (before, from) = rest.split_at(brace);
        body.push_str(before);
        match places.iter().find(|(place, _)| from.starts_with(place)) {
            Some((place, value)) if is_json => {
                let quoted = serde_json::Value::from(*value).to_string();
                body.push_str(
                    quoted
                        .trim_start_matches('"')
                        .strip_suffix('"')
                        .unwrap_or_default(),
                );
                rest = from.get(place.len()..).unwrap_or_default();
            }
            Some((place, value)) => {
                body.push_str(value);
                rest = from.get(place.len()..).unwrap_or_default();
            }
            None => {
                body.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    body.push_str(rest);
    body
}

/// Tells programs that answer mails not to answer this one (RFC 3834).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The message as a mail, with the time at which it was told.
fn mail(from: Mailbox, to: Mailbox, message: &Message) -> Result<lettre::Message, String> {
    let mut builder = lettre::Message::builder()
        .from(from)
        .to(to)
        .subject(&message.title)
        .message_id(None)
        .date(SystemTime::try_from(message.at).unwrap_or(SystemTime::UNIX_EPOCH))
        .header(AutoSubmitted)
        .header(header::ContentType::TEXT_PLAIN);
    builder = builder.header(header::MIME_VERSION_1_0);
    builder
        .body(format!("{}\n", message.text))
        .map_err(|error| chain(&error).join(": "))
}

fn through_smtp(smtp: &Smtp, mail: &lettre::Message, machine: &Machine) -> Result<(), String> {
    let said = |error: lettre::transport::smtp::Error| {
        format!("{}: {}", smtp.host, chain(&error).join(": "))
    };
    let tls = || TlsParameters::new(smtp.host.clone()).map_err(said);
    // The protocol greets in ASCII.
    let plain = |character: &char| character.is_ascii_alphanumeric() || "-.".contains(*character);
    let host: String = machine.host.chars().filter(plain).collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    let mut builder = SmtpTransport::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .timeout(Some(PATIENCE))
        .hello_name(ClientId::Domain(host.to_owned()))
        .tls(match smtp.security {
            Security::Tls => Tls::Wrapper(tls()?),
            Security::StartTls => Tls::Required(tls()?),
            Security::None => Tls::None,
        });
    if let Some(user) = &smtp.user {
        let password = match &smtp.password {
            Some(password) => machine
                .keeper()
                .fetch(password)
                .map_err(|error| format!("the password of {user}: {error}"))?,
            None => return Err(format!("there is no `password` for {user}")),
        };
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        builder = builder.credentials(credentials);
    }
    builder.build().send(mail).map(drop).map_err(said)
}

/// Through the program that takes mail on this machine, whatever brings it.
fn through_sendmail(mail: &lettre::Message) -> Result<(), String> {
    let text = String::from_utf8_lossy(&mail.formatted()).replace("\r\n", "\n");
    let mut last = "there is no `sendmail`; name a server in `smtp`".to_owned();
    for program in ["sendmail", "/usr/sbin/sendmail", "/usr/lib/sendmail"] {
        let mut command = Command::new(program);
        command.args(["-t", "-i"]);
        match program::run(&mut command, text.as_bytes(), PATIENCE) {
            Ok(ended) if ended.status.success() => return Ok(()),
            Ok(ended) => return Err(format!("sendmail: {}", ended.complaint())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => last = format!("sendmail: {error}"),
        }
    }
    Err(last)
}

fn desktop(message: &Message) -> Result<(), String> {
    let mut command = Command::new("notify-send");
    let urgency = if message.is_urgent() {
        "critical"
    } else {
        "normal"
    };
    command.args(["--app-name=Ravelin", "--icon=drive-harddisk"]);
    command.arg(format!("--urgency={urgency}"));
    command.args(["--", &message.title, &message.text]);
    // A timer has no session; the user's bus stands where systemd puts it.
    let bus = format!("/run/user/{}/bus", nix::unistd::geteuid());
    if Path::new(&bus).exists() {
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={bus}"));
    }
    match program::run(&mut command, b"", PATIENCE) {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(format!("notify-send: {}", ended.complaint())),
        Err(error) => Err(format!("notify-send: {error}")),
    }
}

/// Says it in a room. The address is a secret, and no error shows any of it.
///
/// `slack://A/B/C`, `discord://ID/TOKEN`, `matrix://TOKEN@SERVER/ROOM`,
/// `telegram://TOKEN@CHAT`; with `?server=https://…` for one that speaks the same elsewhere.
fn chat(address: &str, message: &Message) -> Result<(), String> {
    let wrong = || {
        "the address is none of slack://A/B/C, discord://ID/TOKEN, matrix://TOKEN@SERVER/ROOM, telegram://TOKEN@CHAT".to_owned()
    };
    let (scheme, rest) = address.split_once("://").ok_or_else(wrong)?;
    let (rest, server) = match rest.split_once("?server=") {
        Some((rest, server)) => (rest, Some(server.trim_end_matches('/'))),
        None => (rest, None),
    };
    let text = format!("{}\n{}", message.title, message.text);
    let json = |body: serde_json::Value| body.to_string();
    let (url, body, token, put) = match scheme {
        "slack" => {
            let server = server.unwrap_or("https://hooks.slack.com");
            (
                format!("{server}/services/{rest}"),
                json(json!({ "text": text })),
                None,
                false,
            )
        }
        "discord" => {
            let server = server.unwrap_or("https://discord.com");
            let text: String = text.chars().take(2000).collect();
            let body = json!({ "content": text, "allowed_mentions": { "parse": [] } });
            (
                format!("{server}/api/webhooks/{rest}"),
                json(body),
                None,
                false,
            )
        }
        "telegram" => {
            let (token, chat) = rest.rsplit_once('@').ok_or_else(wrong)?;
            let server = server.unwrap_or("https://api.telegram.org");
            let body = json!({ "chat_id": chat, "text": text });
            (
                format!("{server}/bot{token}/sendMessage"),
                json(body),
                None,
                false,
            )
        }
        "matrix" => {
            let (token, place) = rest.split_once('@').ok_or_else(wrong)?;
            let (home, room) = place.split_once('/').ok_or_else(wrong)?;
            let home = server.map_or_else(|| format!("https://{home}"), str::to_owned);
            let room = utf8_percent_encode(room, NON_ALPHANUMERIC);
            let transaction = format!("ravelin-{}", message.at.as_nanosecond());
            let url =
                format!("{home}/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}");
            (
                url,
                json(json!({ "msgtype": "m.text", "body": text })),
                Some(token),
                true,
            )
        }
        _ => return Err(wrong()),
    };
    let agent = agent();
    let mut request = if put {
        agent.put(&url)
    } else {
        agent.post(&url)
    };
    request = request.header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    judge(&url, request.send(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            occasion: Some(crate::config::Occasion::Failure),
            layer: Some("disk".to_owned()),
            host: "nas".to_owned(),
            at: "2026-11-24T07:30:00Z".parse().unwrap(),
            title: "nas: \"quoted\" {text}".to_owned(),
            text: "line\nline".to_owned(),
        }
    }

    #[test]
    fn a_template_is_filled_in_once_and_stays_json() {
        let template =
            r#"{"t": "{title}", "b": "{text}", "l": ["{layer}"], "x": {"y": "{other}"}}"#;
        let body = webhook_body(Some(template), "application/json", &message());
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["t"], "nas: \"quoted\" {text}");
        assert_eq!(value["b"], "line\nline");
        assert_eq!(value["l"][0], "disk");
        assert_eq!(value["x"]["y"], "{other}");
        let plain = webhook_body(
            Some("{occasion} at {host}: {title}"),
            "text/plain",
            &message(),
        );
        assert_eq!(plain, "failure at nas: nas: \"quoted\" {text}");
    }

    #[test]
    fn names_and_errors_hold_no_secret() {
        let url = "https://ada:hunter2@hooks.example:8443/T0/secret?key=secret".to_owned();
        let content_type = String::new();
        let webhook = Sender::Webhook {
            url: url.clone(),
            template: None,
            content_type,
        };
        assert_eq!(name(&webhook), "webhook at hooks.example:8443");
        let refused = post("http://127.0.0.1:1/hook/secret", "text/plain", b"", &[]).unwrap_err();
        assert!(!refused.contains("secret"), "{refused}");
        assert!(
            !chat("slack:/secret", &message())
                .unwrap_err()
                .contains("secret")
        );
    }

    #[test]
    fn a_mail_holds_any_title_and_nothing_becomes_a_header() {
        let mut message = message();
        message.title = format!("schönes-nas\nBcc: eve@mail.example {}", "ä".repeat(60));
        let mailbox = |text: &str| Mailbox::new(None, text.parse().unwrap());
        let mail = mail(mailbox("ada@nas"), mailbox("ada@example.org"), &message).unwrap();
        let mail = String::from_utf8(mail.formatted()).unwrap();
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        assert!(head.is_ascii(), "{head}");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(head.contains("Date: Tue, 24 Nov 2026 07:30:00"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated"), "{head}");
        assert!(head.lines().all(|line| line.len() <= 100), "{head}");
        assert!(body.contains("line"), "{body}");
    }

    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
