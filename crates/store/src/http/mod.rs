//! One HTTP client for all services: where the care goes, so that the services' clients stay thin.
//!
//! Every request has a class (for counting), a deadline without progress, and patience: what
//! passes is tried again, after the time that the service asks for, with the body from its start.
//! When a service asks for fewer requests, all users of the same account pause, and fewer run at
//! once from then on: else the retries of eight threads would feed the limit they ran into.
//!
//! Credentials go to the host that they belong to and nowhere else: redirects are followed within
//! the same scheme, host and port only. Queries may hold session keys, so no message holds one.

mod answer;
mod request;
mod script;

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{self, Uri};
use ureq::{Agent, SendBody};

pub(crate) use answer::{Answer, Refusal, parse_http_date};
pub(crate) use request::{Body, Method, Request, encode, encode_path, origin};
pub(crate) use script::Script;

use crate::patience::pause;
use crate::{Environment, Error, ErrorKind, Permits};

/// Longest time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(15);

/// Buffers of a connection, each way. A transfer takes two of them and no more memory.
const BUFFER_SIZE: usize = 128 * 1024;

/// How many requests of one account may run at once.
const PARALLEL_MAX: usize = 32;

/// How many redirects are followed.
const REDIRECTS_MAX: u32 = 3;

/// Longest refusal that is read.
const REFUSAL_MAX: u64 = 64 * 1024;

/// What differs between services.
pub(crate) trait Service: Sync {
    /// Adds what proves who we are. Called at each try, so that time and token are fresh.
    fn sign(&self, http: &Http, request: &mut Request<'_>) -> Result<(), Error>;

    /// Tells what a refusal means. It sees all statuses that the request does not accept.
    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        refusal.usual_kind()
    }

    /// Asked once per request after [`ErrorKind::SignIn`] or [`ErrorKind::ClockSkew`]: gets a new
    /// token or sets the clock right, and tells whether another try makes sense.
    fn renew(&self, _http: &Http, _refusal: &Refusal) -> Result<bool, Error> {
        Ok(false)
    }
}

/// Nobody asks who we are.
pub(crate) struct Anonymous;

impl Service for Anonymous {
    fn sign(&self, _: &Http, _: &mut Request<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// The connections to one account.
pub(crate) struct Http {
    agent: Agent,
    /// For this machine itself: never through a proxy.
    direct: Agent,
    permits: Permits,
    paused_until: Mutex<Option<Instant>>,
    pub(crate) environment: Environment,
}

impl Http {
    pub(crate) fn new(environment: &Environment) -> Self {
        let stall = Some(environment.patience.stall);
        let config = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .allow_non_standard_methods(true)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .timeout_connect(Some(CONNECT))
                .timeout_per_read(stall)
                .timeout_per_write(stall)
                .input_buffer_size(BUFFER_SIZE)
                .output_buffer_size(BUFFER_SIZE)
                .max_idle_connections_per_host(PARALLEL_MAX)
                .user_agent(concat!("ravelin/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .tls_config(
                    ureq::tls::TlsConfig::builder()
                        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                        .build(),
                )
        };
        Self {
            agent: config().build().new_agent(),
            direct: config().proxy(None).build().new_agent(),
            permits: Permits::new(PARALLEL_MAX),
            paused_until: Mutex::new(None),
            environment: environment.clone(),
        }
    }

    /// Sends a request until it is accepted, refused for good, or patience ends.
    pub(crate) fn call(
        &self,
        service: &dyn Service,
        request: &Request<'_>,
    ) -> Result<Answer, Error> {
        let mut renewed = false;
        let mut doubtful = false;
        self.environment.patiently(|_| {
            let answer = self.renewing(service, request, &mut renewed);
            answer.map_err(|error| {
                let error = Error { doubtful, ..error };
                doubtful |= error.is_passing();
                error
            })
        })
    }

    /// One try, with another one when the service wants a new token.
    fn renewing(
        &self,
        service: &dyn Service,
        request: &Request<'_>,
        renewed: &mut bool,
    ) -> Result<Answer, Error> {
        loop {
            let (error, refusal) = match self.attempt(service, request)? {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            let renewable = matches!(error.kind, ErrorKind::SignIn | ErrorKind::ClockSkew);
            if !renewable || *renewed || !service.renew(self, &refusal)? {
                return Err(error);
            }
            *renewed = true;
        }
    }

    /// Sends a request once, with no patience: for those who have their own.
    pub(crate) fn call_once(
        &self,
        service: &dyn Service,
        request: &Request<'_>,
    ) -> Result<Answer, Error> {
        self.attempt(service, request)?.map_err(|(error, _)| error)
    }

    /// One try. The inner error is a refusal by the service, with what it said.
    fn attempt(
        &self,
        service: &dyn Service,
        request: &Request<'_>,
    ) -> Result<Result<Answer, (Error, Refusal)>, Error> {
        let mut request = request.clone();
        for _ in 0..=REDIRECTS_MAX {
            self.wait_for_pause();
            service.sign(self, &mut request)?;
            self.environment.counters.count(request.class);
            let permit = self.permits.take();
            let answer = self.transmit(&request)?;
            drop(permit);
            if request.accepts(answer.status) {
                self.permits.went_well();
                return Ok(Ok(answer));
            }
            if let Some(target) = answer.redirect() {
                request.redirect(&target)?;
                continue;
            }
            let mut refusal = answer.into_refusal(REFUSAL_MAX, (self.environment.clock)());
            refusal.authorization = request.header_value("authorization").map(str::to_owned);
            let mut error = request
                .error(service.explain(&refusal))
                .because(refusal.to_string());
            error.retry_after = refusal.retry_after;
            if error.kind == ErrorKind::Busy || error.retry_after.is_some() {
                self.pause(refusal.retry_after);
            }
            return Ok(Err((error, refusal)));
        }
        Err(request
            .error(ErrorKind::Invalid)
            .because("the server redirects without end"))
    }

    fn transmit(&self, request: &Request<'_>) -> Result<Answer, Error> {
        if let Some(script) = &self.environment.script {
            return Ok(Answer::said(script.answer(), request));
        }
        let uri: Uri = request.uri().parse().map_err(|_| {
            request
                .error(ErrorKind::Invalid)
                .because("the address is not valid")
        })?;
        let agent = if is_loopback(&uri) {
            &self.direct
        } else {
            &self.agent
        };
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(uri);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let invalid = |error: http::Error| request.error(ErrorKind::Invalid).because(error);
        let content = match &request.body {
            Body::None => None,
            Body::Bytes(bytes) => Some(bytes as &dyn crate::Content),
            Body::Content(content) => Some(*content),
        };
        let sent = match content {
            None if request.method.wants_length() => agent.run(
                builder
                    .header("content-length", "0")
                    .body(SendBody::none())
                    .map_err(invalid)?,
            ),
            None => agent.run(builder.body(SendBody::none()).map_err(invalid)?),
            Some(content) => {
                let reader = content.open(0).map_err(|error| request.local(error))?;
                let limited = self.environment.bandwidth.up(reader);
                let mut body = Sending {
                    inner: limited,
                    left: content.size(),
                };
                let builder = builder.header("content-length", content.size());
                agent.run(
                    builder
                        .body(SendBody::from_reader(&mut body))
                        .map_err(invalid)?,
                )
            }
        };
        let (parts, body) = sent.map_err(|error| request.broken(error))?.into_parts();
        Ok(Answer::new(
            parts,
            body,
            request,
            &self.environment.bandwidth,
        ))
    }

    fn wait_for_pause(&self) {
        loop {
            let until = *self
                .paused_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let left = until.and_then(|until| until.checked_duration_since(Instant::now()));
            match left {
                Some(left) if !left.is_zero() && pause(left, &*self.environment.stopping) => {}
                _ => return,
            }
        }
    }

    /// All users of the account wait for as long as the service asked, within patience.
    fn pause(&self, wait: Option<Duration>) {
        self.permits.fewer();
        let wait = wait
            .unwrap_or_default()
            .min(self.environment.patience.total);
        let until = Instant::now() + wait;
        let mut paused = self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *paused = Some(paused.map_or(until, |earlier| earlier.max(until)));
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// A body on its way: exactly as long as was said.
struct Sending<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Sending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let own = |error: io::Error| match Error::unwrap_io(error) {
            Ok(error) => error.into(),
            Err(error) => io::Error::other(LocalError(error)),
        };
        let count = self.inner.read(&mut buffer[..wanted]).map_err(own)?;
        if count == 0 {
            return Err(own(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the content ended early",
            )));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// An error of the content, not of the connection that it was on the way to.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what is to be sent")]
struct LocalError(#[source] io::Error);

/// Values of a form, percent-encoded.
pub(crate) fn form(values: &[(&str, &str)]) -> Vec<u8> {
    let pairs: Vec<String> = values
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect();
    pairs.join("&").into_bytes()
}
