//! Files on their way into the drop folder, and into a request.
//!
//! With script a file comes in parts, each appended to a spool of its own once it is whole, so that
//! an upload that broke off goes on where it was. Without script a form brings it in one go. Either
//! way the file stands in the folder wholly or not at all: it is put there when its last byte came.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Multipart, Request, State, multipart::Field};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use tokio::time::timeout;

use super::guest;
use super::{Place, below, fault_of, named};
use crate::Page;
use crate::ask::{self, Ask, Pairs, go, is_token, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{self, token};

/// Most bytes of a part; our script sends 4 MiB.
const PART_MAX: usize = 8 << 20;
/// How long an upload that broke off is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Files that one form may bring.
const FILES_MAX: u64 = 1000;
/// How long is waited for the next piece of a file.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds after which a guest may try again when too many send files.
const GUEST_WAIT: i64 = 30;

/// Where files are chosen or dropped.
pub(super) fn zone(ask: &Ask, inside: &str) -> Markup {
    let say = ask.say;
    html! {
        form.card method="post" action="/drop" enctype="multipart/form-data" data-upload=""
            data-token=(ask.form_token()) data-failed=(say.t("drop.upload-failed"))
            data-storing=(say.t("drop.storing")) {
            // In this order: what makes the form ours has to come first, and the files last.
            (token(ask))
            div.field {
                label for="in" { (say.t("drop.into")) }
                input #in type="text" name="in" value=(inside) placeholder=(say.t("drop.top"))
                    autocomplete="off" spellcheck="false";
            }
            div.drop {
                p { (icon("drop")) " " label for="file" { (say.t("drop.upload")) } }
                input #file type="file" name="file" multiple required;
            }
            div role="status" data-status="" {}
            progress hidden aria-label=(say.t("job.progress")) value="0" max="1" {}
            div.actions { button.main { (say.t("drop.upload-button")) } }
        }
    }
}

fn spools(page: &Page) -> PathBuf {
    page.machine.places.cache.join("page-uploads")
}

/// The spool of an upload; its name is 64 hexadecimal digits and nothing else.
fn spool(page: &Page, id: &str) -> Result<PathBuf, Fault> {
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        Ok(spools(page).join(id.to_ascii_lowercase()))
    } else {
        Err(Fault::NotFound)
    }
}

fn state(page: &Page, source: io::Error) -> Fault {
    let error = engine::Error::State {
        action: "keep an upload in",
        path: spools(page),
        source,
    };
    error.into()
}

/// How much of an upload is here.
pub(crate) fn have(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let file = spool(page, ask.query.get("id"))?;
    let size = fs::metadata(file).map_or(0, |found| found.len());
    Ok(axum::Json(serde_json::json!({ "size": size })).into_response())
}

/// Takes a part of an upload, if it is the next one.
pub(crate) async fn part(State(page): State<Arc<Page>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let ask = ask::ask(&page, &parts.uri, &parts.headers, Pairs::default());
    let token = parts.headers.get("x-ravelin-token");
    let token = token.and_then(|token| token.to_str().ok());
    if ask.visitor.is_none() || !is_token(&ask, token.unwrap_or_default()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Ok(bytes) = to_bytes(body, PART_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let work = move || {
        let file = spool(&page, ask.query.get("id"))?;
        let at = ask
            .query
            .get("at")
            .parse::<u64>()
            .map_err(|_| Fault::NotFound)?;
        append(&page, &file, at, &bytes).map_err(|error| state(&page, error))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok((is_next, size))) => {
            let status = if is_next {
                StatusCode::OK
            } else {
                StatusCode::CONFLICT
            };
            (status, axum::Json(serde_json::json!({ "size": size }))).into_response()
        }
        Ok(Err(fault)) => fault.status().into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Appends bytes that belong at a place; says whether they did, and how much is there now.
fn append(page: &Page, file: &Path, at: u64, bytes: &[u8]) -> io::Result<(bool, u64)> {
    engine::create_private_folder(&spools(page))?;
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?;
    // Two tabs that bring the same file take turns.
    file.lock()?;
    let size = file.metadata()?.len();
    if size != at {
        return Ok((false, size));
    }
    if let Err(error) = file.write_all(bytes) {
        // Half a part is none.
        file.set_len(size)?;
        return Err(error);
    }
    let added = u64::try_from(bytes.len()).unwrap_or(0);
    Ok((true, size + added))
}

/// Removes uploads that nobody goes on with.
fn sweep(page: &Page, now: Timestamp) {
    let now = SystemTime::try_from(now).unwrap_or(SystemTime::UNIX_EPOCH);
    let entries = fs::read_dir(spools(page)).into_iter().flatten().flatten();
    for entry in entries {
        let modified = entry.metadata().and_then(|found| found.modified());
        let age = modified.map(|at| now.duration_since(at));
        if matches!(age, Ok(Ok(age)) if age > KEPT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Puts an upload that is whole into the folder.
pub(crate) fn finish(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let form = &ask.form;
    let file = spool(page, form.get("id"))?;
    let path = named(form.exact("name"))?;
    let size: u64 = form.get("size").parse().map_err(|_| Fault::NotFound)?;
    let modified = form.get("modified").parse::<i64>().ok();
    let modified = modified.and_then(|at| Timestamp::from_millisecond(at).ok());
    let place = Place::needed(page)?;
    let mut folder = place.open()?;
    if size == 0 {
        append(page, &file, 0, b"").map_err(|error| state(page, error))?;
    }
    let content = File::open(&file).map_err(|error| state(page, error))?;
    let here = content
        .metadata()
        .map_err(|error| state(page, error))?
        .len();
    if here != size {
        return Err(Fault::Typed("drop.incomplete"));
    }
    let now = ask.at();
    let put = folder.put(&path, content, modified.unwrap_or(now), now);
    put.map_err(fault_of)?;
    let _ = fs::remove_file(&file);
    sweep(page, now);
    page.audit.note(now, "upload", path.as_str());
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What a form brings, without script. Its first field must be the one that makes it ours.
pub(crate) async fn forms(State(page): State<Arc<Page>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let uri = request.uri().clone();
    let mut form = match Multipart::from_request(request, &page).await {
        Ok(form) => form,
        Err(refused) => return refused.into_response(),
    };
    let ask = Arc::new(ask::ask(&page, &uri, &headers, Pairs::default()));
    let taken = take(&page, &ask, &mut form).await;
    taken.unwrap_or_else(|fault| layout::fault(&page, &ask, &fault))
}

async fn take(page: &Arc<Page>, ask: &Arc<Ask>, form: &mut Multipart) -> Result<Response, Fault> {
    let first = text(form, "token").await?;
    if ask.visitor.is_none() {
        return Err(Fault::SignIn);
    }
    if !is_token(ask, &first) {
        return Err(Fault::Stale);
    }
    let inside = text(form, "in").await?;
    let inside = inside.trim().trim_matches('/').to_owned();
    let mut count = 0;
    while let Some(field) = next(form).await? {
        let name = field.file_name().unwrap_or_default().to_owned();
        if name.is_empty() || count == FILES_MAX {
            continue;
        }
        let path = named(&below(&inside, &name))?;
        let (page, ask) = (Arc::clone(page), Arc::clone(ask));
        let put = move |content: Arriving| {
            let mut folder = Place::needed(&page)?.open()?;
            let put = folder.put(&path, content, ask.at(), ask.at());
            put.map_err(fault_of)?;
            page.audit.note(ask.at(), "upload", path.as_str());
            Ok(())
        };
        receive(field, put).await?;
        count += 1;
    }
    Ok(go(&format!("/drop?told=uploaded&in={}", quoted(&inside))))
}

async fn next(form: &mut Multipart) -> Result<Option<Field<'_>>, Fault> {
    form.next_field()
        .await
        .map_err(|_| Fault::Typed("drop.incomplete"))
}

/// A short field that has to come now.
async fn text(form: &mut Multipart, name: &str) -> Result<String, Fault> {
    let mut field = next(form).await?.ok_or(Fault::Stale)?;
    if field.name() != Some(name) {
        return Err(Fault::Stale);
    }
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = field.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > 4096 {
            return Err(Fault::Stale);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Hands the content of a field to work on another thread, piece by piece.
async fn receive(
    mut field: Field<'_>,
    work: impl FnOnce(Arriving) -> Result<(), Fault> + Send + 'static,
) -> Result<(), Fault> {
    let (pieces, arriving) = tokio::sync::mpsc::channel(4);
    let arriving = Arriving {
        pieces: arriving,
        piece: Bytes::new(),
        is_over: false,
    };
    let work = tokio::task::spawn_blocking(move || work(arriving));
    loop {
        // Without the last piece, the work knows that something is missing.
        let Ok(Ok(piece)) = timeout(PATIENCE, field.chunk()).await else {
            break;
        };
        let is_last = piece.is_none();
        if pieces.send(piece).await.is_err() || is_last {
            break;
        }
    }
    drop(pieces);
    work.await.unwrap_or(Err(Fault::Busy))
}

/// Content that arrives; an end without the last piece is an error.
pub(super) struct Arriving {
    pieces: tokio::sync::mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    is_over: bool,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_over {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.is_over = true,
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            }
        }
        let length = buffer.len().min(self.piece.len());
        let piece = self.piece.split_to(length);
        if let Some(start) = buffer.get_mut(..length) {
            start.copy_from_slice(&piece);
        }
        Ok(length)
    }
}

/// Takes the files of a guest into quarantine.
pub(crate) async fn give(State(page): State<Arc<Page>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let uri = request.uri().clone();
    let ask = Arc::new(ask::ask(&page, &uri, &headers, Pairs::default()));
    // Guests come one after another: each takes a thread and room on the disk.
    let Ok(_turn) = page.guest_uploads.try_acquire() else {
        return layout::fault(&page, &ask, &Fault::TooMany(GUEST_WAIT));
    };
    let mut form = match Multipart::from_request(request, &page).await {
        Ok(form) => form,
        Err(refused) => return refused.into_response(),
    };
    let taken = take_from_guest(&page, &ask, &mut form).await;
    taken.unwrap_or_else(|fault| layout::fault(&page, &ask, &fault))
}

async fn take_from_guest(
    page: &Arc<Page>,
    ask: &Arc<Ask>,
    form: &mut Multipart,
) -> Result<Response, Fault> {
    let token = guest::token_of(page, ask, "/r/")?.to_owned();
    let mut count = 0;
    while let Some(field) = next(form).await? {
        let name = field.file_name().unwrap_or_default().to_owned();
        if name.is_empty() || count == FILES_MAX {
            continue;
        }
        let (page, ask, token) = (Arc::clone(page), Arc::clone(ask), token.clone());
        let work = move |content: Arriving| {
            let requests = guest::requests(&page)?;
            // Before anything is kept: who has no link fills no disk.
            let asked = requests.look(&token, ask.at());
            let room = asked.map_err(|why| guest::declined(&why))?.room;
            let (file, size) = hold(&page, content, room)?;
            let received = requests.receive(&token, &name, size, file, ask.at());
            received.map_err(|why| guest::declined(&why))?;
            page.audit.note(ask.at(), "received", &name);
            Ok(())
        };
        receive(field, work).await?;
        count += 1;
    }
    Ok(guest::thanks(ask, count))
}

/// Keeps at most so many bytes and one more, in a file without a name.
fn hold(page: &Page, content: Arriving, room: u64) -> Result<(File, u64), Fault> {
    let failed = |error| state(page, error);
    engine::create_private_folder(&spools(page)).map_err(failed)?;
    let mut random = [0; 32];
    (page.machine.random)(&mut random).map_err(failed)?;
    let path = spools(page).join(hex::encode(random));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    let copied = io::copy(&mut content.take(room.saturating_add(1)), &mut file);
    let size = copied.map_err(|_| Fault::Typed("guest.incomplete"))?;
    io::Seek::rewind(&mut file).map_err(failed)?;
    Ok((file, size))
}
