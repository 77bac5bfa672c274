//! Signing in with a browser: authorisation code with PKCE.
//!
//! The answer comes to a port of this machine that is open for one request, or is pasted. It is
//! of use only together with a secret that never left this program, and it must carry the state that we sent,
//! so that nobody can slip us an account of theirs.
//!
//! Source: RFC 7636 (PKCE), RFC 8252 (loopback redirect).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::kept::Account;
use super::{Client, KeptIn, Provider, grant, keep};
use crate::http::{Http, encode};
use crate::{Environment, Error, ErrorKind, Operation};

/// Longest request line that is read from a browser.
const LINE_MAX: u64 = 16 * 1024;

/// A sign-in under way.
pub struct SignIn {
    provider: Provider,
    client: Client,
    environment: Environment,
    verifier: String,
    state: String,
    redirect: Option<String>,
    listener: Option<TcpListener>,
    url: String,
}

impl SignIn {
    /// Begins a sign-in whose answer comes to a port of this machine. Dropbox wants the exact address
    /// registered, so `port` may be given; 0 takes any.
    ///
    /// # Errors
    ///
    /// When the port is taken: then [`with_code`](Self::with_code) is the way.
    pub fn with_browser(
        provider: Provider,
        client: Client,
        port: u16,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let fail = |error| Error::from_io(error, Operation::SignIn, provider.name());
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(fail)?;
        let port = listener.local_addr().map_err(fail)?.port();
        let mut sign_in = Self::new(
            provider,
            client,
            environment,
            Some(format!("http://127.0.0.1:{port}/")),
        );
        sign_in.listener = Some(listener);
        Ok(sign_in)
    }

    /// Begins a sign-in whose answer is a code that the person copies. Dropbox shows one; Google
    /// offers a [`DeviceSignIn`](super::DeviceSignIn) instead.
    #[must_use]
    pub fn with_code(provider: Provider, client: Client, environment: &Environment) -> Self {
        Self::new(provider, client, environment, None)
    }

    fn new(
        provider: Provider,
        client: Client,
        environment: &Environment,
        redirect: Option<String>,
    ) -> Self {
        let random = || {
            let mut bytes = [0; 32];
            (environment.random)(&mut bytes);
            URL_SAFE_NO_PAD.encode(bytes)
        };
        let (verifier, state) = (random(), random());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let (page, offline) = match provider {
            // Without a new consent, Google gives no lasting token the second time.
            Provider::Drive => (
                &environment.endpoints.google_authorize,
                "access_type=offline&prompt=consent",
            ),
            Provider::Dropbox => (
                &environment.endpoints.dropbox_authorize,
                "token_access_type=offline",
            ),
        };
        let mut url = format!(
            "{page}?response_type=code&client_id={}&code_challenge={challenge}&code_challenge_method=S256&state={state}&scope={}&{offline}",
            encode(&client.id),
            encode(provider.scope()),
        );
        if let Some(redirect) = &redirect {
            url += &format!("&redirect_uri={}", encode(redirect));
        }
        Self {
            provider,
            client,
            environment: environment.clone(),
            verifier,
            state,
            redirect,
            listener: None,
            url,
        }
    }

    /// The page that the person opens. Holds no secret.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the browser to come back, and keeps the sign-in for `account`.
    ///
    /// # Errors
    ///
    /// When nobody comes in time, the person refuses, or the answer is not ours.
    pub fn wait(self, account: Option<&str>, time: Duration) -> Result<KeptIn, Error> {
        self.wait_unless(account, time, &|| ControlFlow::Continue(()))
    }

    /// The same, given up when `stop` breaks; it is asked some twenty times a second.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait), and when it was given up.
    pub fn wait_unless(
        self,
        account: Option<&str>,
        time: Duration,
        stop: &dyn Fn() -> ControlFlow<()>,
    ) -> Result<KeptIn, Error> {
        let error = |why: &str| self.provider.error(ErrorKind::SignIn, why);
        let fail = |error| Error::from_io(error, Operation::SignIn, self.provider.name());
        let listener = self
            .listener
            .as_ref()
            .ok_or_else(|| error("this sign-in waits for a code"))?;
        listener.set_nonblocking(true).map_err(fail)?;
        let began = Instant::now();
        let code = loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    // Browsers ask for an icon as well: what is no answer is passed over.
                    if let Some(answer) = self.answered(&stream) {
                        break answer?;
                    }
                }
                Err(none) if none.kind() == std::io::ErrorKind::WouldBlock => {
                    if began.elapsed() > time {
                        return Err(error("nobody signed in in time"));
                    }
                    if stop().is_break() {
                        return Err(error("the sign-in was given up"));
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(fail(error)),
            }
        };
        self.finish(account, &code)
    }

    /// Takes the code that the person copied, and keeps the sign-in for `account`. After one that was
    /// mistyped another one may be tried.
    ///
    /// # Errors
    ///
    /// When the service does not accept the code.
    pub fn finish(&self, account: Option<&str>, code: &str) -> Result<KeptIn, Error> {
        let account = Account::new(self.provider, account, &self.environment)?;
        let mut values = vec![
            ("grant_type", "authorization_code"),
            ("code", code.trim()),
            ("client_id", self.client.id.as_str()),
            ("code_verifier", &self.verifier),
        ];
        if let Some(secret) = &self.client.secret {
            values.push(("client_secret", secret.expose()));
        }
        if let Some(redirect) = &self.redirect {
            values.push(("redirect_uri", redirect));
        }
        let granted = grant(self.provider, &Http::new(&self.environment), &values)?;
        let granted = granted.map_err(|not| {
            let why = match not.error.as_str() {
                "invalid_grant" => "the service does not accept the code",
                _ => not.why(),
            };
            self.provider.error(ErrorKind::SignIn, why)
        })?;
        keep(&account, &self.client, granted, &self.environment)
    }

    /// Reads one request. `None` when it is no answer to our question.
    fn answered(&self, mut stream: &TcpStream) -> Option<Result<String, Error>> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_MAX))
            .read_line(&mut line)
            .ok()?;
        let (_, query) = line.split(' ').nth(1)?.split_once('?')?;
        let value = |wanted: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| {
                    percent_decode_str(&value.replace('+', " "))
                        .decode_utf8_lossy()
                        .into_owned()
                })
        };
        let (code, refused) = (value("code"), value("error"));
        if code.is_none() && refused.is_none() {
            return None;
        }
        let ours = value("state").as_deref() == Some(&self.state);
        let answer = match code {
            Some(code) if ours => Ok(code),
            _ if !ours => return None,
            _ => Err(self
                .provider
                .error(ErrorKind::SignIn, "the sign-in was refused")),
        };
        let text = if answer.is_ok() {
            "Signed in. This page can be closed."
        } else {
            "Not signed in."
        };
        // The person sees a blank page at worst.
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        );
        Some(answer)
    }
}
