//! One file of a snapshot, or several things of it as a tar file, for the browser to save.
//!
//! The content comes out of the layer, never from a path of this machine, and a file that turns out
//! to be damaged half-way ends the connection: a browser never takes it for whole.

use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::{Selection, Stop, Watch};
use hyper::body::Frame;
use tree::TreePath;

use super::{basket, layer_of, open, path_of, snapshot_of};
use crate::Page;
use crate::ask::{Ask, quoted};
use crate::fault::Fault;

/// Bytes that are handed on at a time.
const PIECE: usize = 256 * 1024;
/// Pieces that wait for a slow browser.
const WAITING: usize = 4;

pub(crate) fn download(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let config = page.config()?;
    let layer = layer_of(&config, &ask.query)?.clone();
    let path = path_of(ask.query.get("path"))?;
    let name = file_name(&path);
    let typed = ask.query.exact("snapshot").to_owned();
    let (ready, is_ready) = mpsc::sync_channel(1);
    let (pieces, body) = tokio::sync::mpsc::channel(WAITING);
    let page_there = Arc::clone(page);
    let work = move || {
        let opened = open(&page_there, &layer).and_then(|mut opened| {
            let chosen = snapshot_of(&page_there, &layer, &mut *opened, &typed)?;
            Ok((opened, chosen.0))
        });
        let (mut opened, snapshot) = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                let _ = ready.send(Err(fault));
                return;
            }
        };
        match opened.content(&snapshot, &path) {
            Ok(content) => {
                let _ = ready.send(Ok(()));
                send(content, &pieces);
            }
            Err(error) => {
                let error = engine::Error::of_layer(&layer.name)(error);
                let _ = ready.send(Err(error.into()));
            }
        }
    };
    let thread = std::thread::Builder::new().name("download".to_owned());
    thread.spawn(work).map_err(|_| Fault::Busy)?;
    is_ready.recv().map_err(|_| Fault::NotFound)??;
    page.audit.note(ask.at(), "download", &name);
    Ok(attachment(&name, Body::new(Pieces(body))))
}

/// Several files and folders of a snapshot, as one tar file.
pub(crate) fn pack(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let config = page.config()?;
    let layer = layer_of(&config, &ask.query)?.clone();
    let paths = basket::meant(page, &ask.query)?;
    let first = paths.first().ok_or(Fault::Typed("restore.wrong-nothing"))?;
    let mut opened = open(page, &layer)?;
    let typed = ask.query.exact("snapshot");
    let (snapshot, _) = snapshot_of(page, &layer, &mut *opened, typed)?;
    let mut missing = paths.clone();
    missing.retain(|path| !path.is_root());
    let listed = opened.entries(&snapshot, &mut |found| {
        if let Ok(item) = found {
            missing.retain(|path| !item.entry.path.starts_with(path));
        }
        if missing.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    listed.map_err(engine::Error::of_layer(&layer.name))?;
    if let Some(path) = missing.into_iter().next() {
        let snapshot = snapshot.name;
        return Err(engine::Error::NoEntry { path, snapshot }.into());
    }
    drop(opened);
    let day = snapshot
        .time
        .to_zoned_datetime(ask.now.time_zone().clone())
        .date();
    let name = match paths.as_slice() {
        [_] if !first.is_root() => format!("{} {day}.tar", file_name(first)),
        _ => format!("{} {day}.tar", layer.name),
    };
    let (pieces, body) = tokio::sync::mpsc::channel(WAITING);
    let page_there = Arc::clone(page);
    let work = move || {
        let mut output = BufWriter::with_capacity(PIECE, Outlet(pieces.clone()));
        let stop = Stop::default();
        let watch = Watch {
            sink: &|_| {},
            stop: &stop,
        };
        let selection = Selection::together(paths);
        let packed = page_there.with(&config, |context| {
            engine::pack(&layer, &snapshot, &selection, &mut output, context, watch)
        });
        let packed = packed.map_err(io::Error::other);
        if let Err(error) = packed.and_then(|()| output.flush()) {
            // Ends the connection, so that no browser takes a part for the whole.
            let _ = pieces.blocking_send(Err(error));
        }
    };
    let thread = std::thread::Builder::new().name("pack".to_owned());
    thread.spawn(work).map_err(|_| Fault::Busy)?;
    page.audit.note(ask.at(), "download", &name);
    Ok(attachment(&name, Body::new(Pieces(body))))
}

/// Where a body is written to; its reader may be gone.
struct Outlet(tokio::sync::mpsc::Sender<Result<Bytes, io::Error>>);

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        match self.0.blocking_send(Ok(piece)) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands content on, piece by piece, until it ends or nobody wants it.
pub(crate) fn send(
    mut content: impl Read,
    pieces: &tokio::sync::mpsc::Sender<Result<Bytes, io::Error>>,
) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let limit = u64::try_from(PIECE).unwrap_or(u64::MAX);
        let piece = match content.by_ref().take(limit).read_to_end(&mut piece) {
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(piece)),
            Err(error) => Err(error),
        };
        let is_over = piece.is_err();
        if pieces.blocking_send(piece).is_err() || is_over {
            return;
        }
    }
}

/// A body that another thread fills.
pub(crate) struct Pieces(pub(crate) tokio::sync::mpsc::Receiver<Result<Bytes, io::Error>>);

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// An answer that is saved, never shown: what is in a file has no rights on this page.
pub(crate) fn attachment(name: &str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename*=UTF-8''{}", quoted(name)),
        ),
    ];
    (headers, body).into_response()
}

fn file_name(path: &TreePath) -> String {
    let name = path.name().unwrap_or(b"file");
    String::from_utf8_lossy(name).into_owned()
}
