//! Links to files, and requests for files.

use std::io::BufRead;
use std::sync::Arc;
use std::time::SystemTime;

use ::drop::{Error, FileRequest, Links, NewLink, Requests, ShareLink};
use jiff::Timestamp;
use store::{DropboxLink, Secret};

use super::times::{self, Way};
use super::{Ended, Place, Session, system_time, typed};
use crate::cli::drop::{Request, Served, Share};
use crate::exit::Exit;
use crate::human;
use crate::table::{Align, table};

/// The password of a link, from where it is in no list of processes.
fn password() -> Result<Secret, Ended> {
    if let Ok(password) = std::env::var("RAVELIN_LINK_PASSWORD") {
        return Ok(Secret::new(password));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Ended::Drop(Error::Unsupported {
            what: "no password: set RAVELIN_LINK_PASSWORD or write it to stdin",
        }));
    }
    Ok(Secret::new(password))
}

/// The web page that serves links, without a slash at its end; `None` when none is known.
fn page(served: &Served, session: &Session<'_>) -> Result<Option<String>, Ended> {
    let Some(typed) = &served.page else {
        return Ok(web::Address::remembered(session.machine));
    };
    let is_address = typed.starts_with("https://") || typed.starts_with("http://");
    if !is_address || !typed.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Ended::Drop(Error::Unsupported {
            what: "`--page` is an address such as https://files.example.org",
        }));
    }
    Ok(Some(typed.trim_end_matches('/').to_owned()))
}

/// The same, where there has to be one: a link that nobody serves is none.
fn needed_page(served: &Served, session: &Session<'_>) -> Result<String, Ended> {
    let page = page(served, session)?.ok_or(Error::NoPage)?;
    if !page.starts_with("https://") {
        session
            .output
            .say("the page is served to this machine only: others cannot open the link");
    }
    Ok(page)
}

/// An address that the store signs, for a place that can.
fn presigned(
    place: &Place,
    path: &store::Name,
    expires: Timestamp,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let folder = place.open()?;
    if folder.present(path).is_none() {
        return Err(Ended::Drop(Error::NoFile { name: path.clone() }));
    }
    let store::Location::S3(location) = &place.location else {
        return Err(Ended::Drop(Error::Unsupported {
            what: "only S3 signs addresses by itself: leave `--presigned` out",
        }));
    };
    let life = expires.duration_since(Place::now(session));
    let life = std::time::Duration::try_from(life).unwrap_or_default();
    let url = store::S3::new(location, &place.environment).presigned(path, life);
    let url = url.map_err(Error::from)?;
    if session.output.json {
        let record = serde_json::json!({
            "url": url,
            "path": path.as_str(),
            "expires": expires,
            "presigned": true,
        });
        return session.answer(&[record]);
    }
    session.output.data(format!("{url}\n").as_bytes())?;
    Ok(Exit::Good)
}

pub(super) fn share(
    place: &Place,
    arguments: &Share,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let folder = place.open()?;
    let now = Place::now(session);
    let path = typed(&arguments.path)?;
    let expires = times::parse(&arguments.expires, Way::FromNow, session)?;
    if arguments.presigned {
        return presigned(place, &path, expires, session);
    }
    let password = arguments.password.then(password).transpose()?;
    if let Some(dropbox) = folder.dropbox() {
        if arguments.once {
            return Err(Ended::Drop(Error::Unsupported {
                what: "Dropbox has no links that end with their first use",
            }));
        }
        let until = Some(system_time(expires));
        let link = dropbox.share(&path, until, password.as_ref(), !arguments.no_download);
        let link = link.map_err(Error::from)?;
        return of_dropbox(&[link], session);
    }
    let page = needed_page(&arguments.served, session)?;
    let new = NewLink {
        expires,
        password,
        once: arguments.once,
        download: !arguments.no_download,
    };
    let links = Links::new(Arc::clone(folder.store()), &place.environment);
    let link = links.create(&folder, &path, &new, &place.device, now)?;
    ours(&[link], Some(&page), session)
}

pub(super) fn links(
    place: &Place,
    revoke: Option<&str>,
    revoke_all: bool,
    served: &Served,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let folder = place.open()?;
    let now = Place::now(session);
    if let Some(dropbox) = folder.dropbox() {
        let links = dropbox.links().map_err(Error::from)?;
        if !revoke_all && revoke.is_none() {
            return of_dropbox(&links, session);
        }
        for link in links {
            if revoke_all || revoke == Some(link.url.as_str()) {
                dropbox.revoke(&link.url).map_err(Error::from)?;
                session.output.tell(&format!("taken back: {}", link.url));
            }
        }
        return Ok(Exit::Good);
    }
    let links = Links::new(Arc::clone(folder.store()), &place.environment);
    if revoke_all {
        let count = links.revoke_all()?;
        session
            .output
            .tell(&format!("{} taken back", human::count(count, "link")));
        return Ok(Exit::Good);
    }
    if let Some(id) = revoke {
        links.revoke(id)?;
        session.output.tell("taken back");
        return Ok(Exit::Good);
    }
    let page = page(served, session)?;
    ours(&links.list(now)?, page.as_deref(), session)
}

fn of_dropbox(links: &[DropboxLink], session: &Session<'_>) -> Result<Exit, Ended> {
    let time = |time: Option<SystemTime>| time.and_then(|time| Timestamp::try_from(time).ok());
    if session.output.json {
        let records: Vec<_> = links
            .iter()
            .map(|link| {
                serde_json::json!({
                    "link": link.url,
                    "url": link.url,
                    "path": link.name.as_ref().map(store::Name::as_str),
                    "expires": time(link.expires),
                    "password": link.has_password,
                })
            })
            .collect();
        return session.answer(&records);
    }
    let columns = [
        ("ENDS", Align::Left),
        ("LINK", Align::Left),
        ("FILE", Align::Left),
    ];
    let rows: Vec<Vec<String>> = links
        .iter()
        .map(|link| {
            let ends = time(link.expires);
            vec![
                ends.map_or_else(|| "never".to_owned(), |at| human::minute(at, &session.zone)),
                link.url.clone(),
                link.name
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
            ]
        })
        .collect();
    session.output.data(table(&columns, &rows).as_bytes())?;
    Ok(Exit::Good)
}

/// Our own links; without a page, their addresses begin with a slash.
fn ours(links: &[ShareLink], page: Option<&str>, session: &Session<'_>) -> Result<Exit, Ended> {
    let address = |token: &str| format!("{}/s/{token}", page.unwrap_or_default());
    if session.output.json {
        let records: Vec<_> = links
            .iter()
            .map(|link| {
                serde_json::json!({
                    "link": link.id,
                    "token": link.token,
                    "url": page.map(|_| address(&link.token)),
                    "path": link.path.as_str(),
                    "created": link.created,
                    "expires": link.expires,
                    "device": link.device.as_str(),
                    "password": link.has_password,
                    "once": link.once,
                    "used": link.used,
                    "download": link.download,
                })
            })
            .collect();
        return session.answer(&records);
    }
    let columns = [
        ("ENDS", Align::Left),
        ("LINK", Align::Left),
        ("ADDRESS", Align::Left),
        ("FILE", Align::Left),
    ];
    let rows: Vec<Vec<String>> = links
        .iter()
        .map(|link| {
            let mut file = link.path.to_string();
            for (is, what) in [
                (link.has_password, "password"),
                (link.once, "once"),
                (link.used, "used"),
                (!link.download, "no download"),
            ] {
                if is {
                    file.push_str(&format!(" ({what})"));
                }
            }
            vec![
                human::minute(link.expires, &session.zone),
                link.id.clone(),
                address(&link.token),
                file,
            ]
        })
        .collect();
    session.output.data(table(&columns, &rows).as_bytes())?;
    Ok(Exit::Good)
}

pub(super) fn request(
    place: &Place,
    arguments: &Request,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    let now = Place::now(session);
    let deadline = arguments
        .deadline
        .as_deref()
        .map(|when| times::parse(when, Way::FromNow, session))
        .transpose()?;
    let to = typed(&arguments.to)?;
    if let Some(dropbox) = folder.dropbox() {
        let requests = if let Some(title) = &arguments.title {
            let until = deadline.map(system_time);
            vec![
                dropbox
                    .request_files(title, &to, until)
                    .map_err(Error::from)?,
            ]
        } else {
            if let Some(id) = &arguments.close {
                dropbox.close_request(id).map_err(Error::from)?;
            }
            dropbox.file_requests().map_err(Error::from)?
        };
        let records: Vec<_> = requests
            .iter()
            .map(|request| {
                serde_json::json!({
                    "request": request.id,
                    "url": request.url,
                    "title": request.title,
                    "files": request.files,
                    "open": request.open,
                })
            })
            .collect();
        if session.output.json {
            session.output.json(&records)?;
        } else {
            for request in &requests {
                let line = format!("{}  {}  {}\n", request.id, request.url, request.title);
                session.output.data(line.as_bytes())?;
            }
        }
        return Ok(Exit::Good);
    }
    let requests = Requests::new(Arc::clone(folder.store()), &place.environment);
    if let Some(title) = &arguments.title {
        let deadline = deadline.ok_or(Error::Unsupported {
            what: "name a deadline with `--deadline`",
        })?;
        let page = needed_page(&arguments.served, session)?;
        let made = requests.create(title, deadline, arguments.quota, now)?;
        return show(&[made], Some(&page), session);
    }
    if let Some(id) = &arguments.close {
        requests.close(id)?;
        session.output.tell("closed");
        return Ok(Exit::Good);
    }
    let all = requests.list()?;
    let Some(id) = &arguments.accept else {
        let page = page(&arguments.served, session)?;
        return show(&all, page.as_deref(), session);
    };
    let found = all.into_iter().find(|request| request.id == *id);
    let found = found.ok_or(Error::Unsupported {
        what: "there is no request of this name",
    })?;
    for received in &found.received {
        let path = requests.accept(&mut folder, received, &to, now)?;
        session.output.tell(&format!("accepted: {path}"));
    }
    folder.save()?;
    Ok(Exit::Good)
}

fn show(
    requests: &[FileRequest],
    page: Option<&str>,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let address = |token: &str| format!("{}/r/{token}", page.unwrap_or_default());
    if session.output.json {
        let records: Vec<_> = requests
            .iter()
            .map(|request| {
                let received: Vec<_> = request
                    .received
                    .iter()
                    .map(|file| serde_json::json!({"name": file.file_name, "size": file.size}))
                    .collect();
                serde_json::json!({
                    "request": request.id,
                    "token": request.token,
                    "url": page.map(|_| address(&request.token)),
                    "title": request.title,
                    "created": request.created,
                    "deadline": request.deadline,
                    "quota": request.quota,
                    "received": received,
                })
            })
            .collect();
        return session.answer(&records);
    }
    let columns = [
        ("UNTIL", Align::Left),
        ("REQUEST", Align::Left),
        ("CAME", Align::Right),
        ("ADDRESS", Align::Left),
        ("TITLE", Align::Left),
    ];
    let rows: Vec<Vec<String>> = requests
        .iter()
        .map(|request| {
            vec![
                human::minute(request.deadline, &session.zone),
                request.id.clone(),
                human::count(request.received.len() as u64, "file"),
                address(&request.token),
                request.title.clone(),
            ]
        })
        .collect();
    session.output.data(table(&columns, &rows).as_bytes())?;
    Ok(Exit::Good)
}
