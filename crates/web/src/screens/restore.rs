//! Restore: look for a file over all layers and times, or browse a time; then put it back.
//!
//! What is asked for is a layer, a snapshot and paths, each path as the exact bytes in base64: names
//! need not be text. Nothing that a browser sends is a path of this machine but the folder to restore
//! into, and that is gone through by handles, as every restore is.

mod act;
mod basket;
mod browse;
mod download;
mod find;
mod search;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::config;
use engine::layer::{Access, Layer};
use engine::{Config, Snapshot};
use jiff::Timestamp;
use tree::TreePath;

use crate::Page;
use crate::ask::{Pairs, quoted};
use crate::fault::Fault;

pub(crate) use act::{begin, plan, undo, undo_button};
pub(crate) use basket::{Basket, change as change_basket, show as basket};
pub(crate) use browse::browse;
pub(crate) use download::{Pieces, attachment, download, pack, send};
pub(crate) use find::{catch_up, show, versions};

/// A path as a part of an address.
fn key_of(path: &TreePath) -> String {
    URL_SAFE_NO_PAD.encode(path.as_bytes())
}

/// The path of such a part; the top for none.
fn path_of(key: &str) -> Result<TreePath, Fault> {
    if key.is_empty() {
        return Ok(TreePath::root());
    }
    let bytes = URL_SAFE_NO_PAD.decode(key).map_err(|_| Fault::NotFound)?;
    TreePath::new(bytes).map_err(|_| Fault::NotFound)
}

/// The address of something in a snapshot.
fn address(screen: &str, layer: &str, snapshot: &str, path: &TreePath) -> String {
    format!(
        "/restore/{screen}?layer={}&snapshot={}&path={}",
        quoted(layer),
        quoted(snapshot),
        key_of(path)
    )
}

/// The layer that a request names.
fn layer_of<'a>(config: &'a Config, pairs: &Pairs) -> Result<&'a config::Layer, Fault> {
    Ok(engine::find_layer(config, pairs.exact("layer"))?)
}

/// Opens a layer for reading.
fn open(page: &Page, layer: &config::Layer) -> Result<Box<dyn Layer>, Fault> {
    let opened = engine::layer::open(layer, Access::Read, &page.machine);
    Ok(opened.map_err(engine::Error::of_layer(&layer.name))?)
}

/// The snapshot that a request names.
fn snapshot_of(
    page: &Arc<Page>,
    layer: &config::Layer,
    opened: &mut dyn Layer,
    typed: &str,
) -> Result<(Snapshot, Vec<Snapshot>), Fault> {
    let of_layer = || engine::Error::of_layer(&layer.name);
    let snapshots = opened.snapshots().map_err(of_layer())?;
    let zone = page.now().time_zone().clone();
    let typed = if typed.is_empty() { "latest" } else { typed };
    let snapshot = engine::browse::choose(&snapshots, typed, &zone).map_err(of_layer())?;
    Ok((snapshot, snapshots))
}

/// A time of a file system on the calendar, clamped to where the calendar ends.
fn timestamp(time: tree::Time) -> Timestamp {
    Timestamp::from_nanosecond(time.nanoseconds.into()).unwrap_or(Timestamp::MAX)
}

/// The last name of a path, as text.
fn name_of(path: &TreePath) -> String {
    let name = path.name().unwrap_or_default();
    // Control signs are shown as such, as in every list of the terminal.
    TreePath::new(name).map_or_else(|_| String::new(), |name| name.to_string())
}
