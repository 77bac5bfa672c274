//! Connections: how many, how slow, and how the server ends.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::routes::app;
use crate::say::Say;
use crate::{Page, Tls};

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a request's header may take.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Longest header of a request in bytes: a few hundred files that were ticked are named in an address.
const HEADER_SIZE_MAX: usize = 64 * 1024;
/// Threads for screens and what they ask of the engine.
const SCREENS_MAX: usize = 64;
/// How often it is looked whether the end was asked for.
const LOOK: Duration = Duration::from_millis(200);
/// How long the end waits for open connections.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves the page until the machine's [`Stop`](engine::Stop) is asked for. Jobs that run then are
/// stopped tidily and waited for.
///
/// # Errors
///
/// When the runtime or the listener cannot be had.
pub fn serve(listener: TcpListener, page: &Arc<Page>) -> io::Result<()> {
    serve_with(listener, page, None)
}

/// The same, through TLS alone: who speaks plain HTTP is told so and nothing else.
///
/// # Errors
///
/// As [`serve`].
pub fn serve_tls(listener: TcpListener, page: &Arc<Page>, tls: Tls) -> io::Result<()> {
    serve_with(listener, page, Some(tls))
}

fn serve_with(listener: TcpListener, page: &Arc<Page>, tls: Option<Tls>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(SCREENS_MAX)
        .enable_all()
        .build()?;
    // Who opens the page does not wait for a year of history to be read.
    let there = Arc::clone(page);
    runtime.spawn_blocking(move || there.outlines());
    let served = runtime.block_on(accept(listener, page, tls));
    page.jobs.end();
    // A screen that waits for a dead store does not hold up the end.
    runtime.shutdown_timeout(PATIENCE);
    served
}

async fn accept(listener: TcpListener, page: &Arc<Page>, tls: Option<Tls>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = TowerToHyperService::new(app(Arc::clone(page)));
    let refusal = TowerToHyperService::new(Router::new().fallback(takes_tls));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while !page.machine.stop.is_requested() {
        let Ok(accepted) = timeout(LOOK, listener.accept()).await else {
            continue;
        };
        let Ok((stream, _)) = accepted else {
            // No file handle is left, most likely: some will be.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // Full: closed at once, so that nobody hangs.
            continue;
        };
        let (service, refusal) = (service.clone(), refusal.clone());
        let watcher = graceful.watcher();
        let acceptor = tls.as_ref().map(|tls| tls.acceptor(page.timestamp()));
        tokio::spawn(async move {
            match acceptor {
                None => converse(stream, service, watcher).await,
                Some(acceptor) => {
                    // Who does not come to terms with us in time is no guest.
                    let is_plain = timeout(HEADER_TIME, is_plain(&stream)).await;
                    if is_plain.is_ok_and(|is_plain| is_plain) {
                        converse(stream, refusal, watcher).await;
                    } else if let Ok(Ok(stream)) =
                        timeout(HEADER_TIME, acceptor.accept(stream)).await
                    {
                        converse(stream, service, watcher).await;
                    }
                }
            }
            drop(place);
        });
    }
    let _ = timeout(PATIENCE, graceful.shutdown()).await;
    Ok(())
}

/// Whether a guest begins with a word of HTTP and not with a greeting of TLS.
async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    let found = stream.peek(&mut first).await;
    let [first] = first;
    found.is_ok_and(|count| count == 1) && first.is_ascii_uppercase()
}

/// What plain HTTP is told where TLS is spoken. No redirect: who is used to be led on would not notice
/// somebody who leads elsewhere.
async fn takes_tls(headers: HeaderMap) -> impl IntoResponse {
    let accepted = headers.get(header::ACCEPT_LANGUAGE);
    let accepted = accepted.and_then(|value| value.to_str().ok());
    let say = Say::choose(None, accepted.unwrap_or_default());
    let text = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONNECTION, "close"),
    ];
    (StatusCode::BAD_REQUEST, text, say.t("fault.takes-tls"))
}

/// Answers the requests of one connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_SIZE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A guest who hangs up is no fault of ours.
    let _ = watcher.watch(connection).await;
}
