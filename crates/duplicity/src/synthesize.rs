//! A new full set made of a chain, without the source: so a long chain can end, and the old one
//! can go, although nobody reads all files again.
//!
//! Everything comes out of the chain as a restore would bring it, is compared with the kept
//! signatures, and goes into an ordinary full set, whose manifest is written last. If anything of
//! the chain cannot be put together, no set is made: a full set stands for itself, and would hide
//! what is missing. The chain is left as it is.
//!
//! The new set is dated one second after the state that it holds, as two sets of one second are
//! told apart by nobody.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

use tree::{Block, Body, Ending, Entry, Step, TreePath};

use crate::archive::Archive;
use crate::backup::{Intake, Summary, Wanted};
use crate::base::Stats;
use crate::collection::Chain;
use crate::error::Error;
use crate::listing::Listed;
use crate::name::SetKind;
use crate::restore::{Checker, Proof};
use crate::snapshot::{Item, Snapshot};
use crate::time::SetTime;

/// How much of a file is handed on at a time.
const BLOCK: usize = 128 << 10;

impl Archive {
    /// Makes a full set of the newest state of the chain that increments are added to. `None` when
    /// that is a full set already.
    ///
    /// `on_bytes` hears how many bytes of content were read since it was last called, and ends it
    /// by breaking: then no set is made, as after an error.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written, or [`Error::Damaged`] when the chain does not
    /// restore what was backed up.
    pub fn synthesize(
        &self,
        now: SetTime,
        on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<(SetKind, Summary)>, Error> {
        let collection = self.collection(now)?;
        let Some(chain) = collection.active().filter(|chain| chain.sets.len() > 1) else {
            return Ok(None);
        };
        let last = chain.sets.last().unwrap_or(chain.full());
        let manifest = self.manifest(last)?;
        let mut settings = (*self.settings).clone();
        settings.host = manifest.host.unwrap_or_default();
        settings.local_dir = manifest.local_dir.unwrap_or_default();
        let archive = Self {
            settings: settings.into(),
            ..self.clone()
        };
        let known = Stats::bytes_of(&archive, last.end());
        let intake = archive.begin(Wanted::Full, last.end())?;
        // Nobody has added a set in between: that would be older than what is made of this one.
        let again = self.collection(now)?;
        if again.active().map(Chain::end) != Some(last.end()) {
            return Err(Error::Locked);
        }
        let set = intake.set();
        let mut objects = archive.objects(&chain.sets, &[TreePath::root()])?;
        let mut snapshot = archive.snapshot(&chain.sets, &TreePath::root())?;
        let mut ahead = None;
        while let Some(listed) = objects.next().transpose()? {
            if !listed.entry.is_file() {
                let entry = Arc::new(listed.entry);
                let body = Body::None;
                intake.take(Step::Entry { entry, body })?;
                continue;
            }
            find(&mut snapshot, &mut ahead, &listed.entry.path)?;
            if copy(&mut snapshot, listed, &intake, on_bytes)?.is_break() {
                return Err(Error::Stopped);
            }
        }
        if let Some(problem) = objects.take_problems().pop() {
            return Err(damaged(&TreePath::root(), std::io::Error::other(problem)));
        }
        let summary = intake.commit()?;
        if let Some(bytes) = known {
            // The source is still what it was when the last set was made.
            Stats::put(&archive, set.end(), &bytes);
        }
        Ok(Some((set, summary)))
    }
}

/// Moves on to the content of `path`.
fn find(
    snapshot: &mut Snapshot,
    ahead: &mut Option<TreePath>,
    path: &TreePath,
) -> Result<(), Error> {
    loop {
        match ahead {
            Some(at) if at == path => return Ok(()),
            Some(at) if *at > *path => {
                return Err(damaged(path, std::io::Error::other("it is in no volume")));
            }
            _ => {}
        }
        match snapshot.next()? {
            Some(Item::Object(entry)) => *ahead = Some(entry.path),
            Some(Item::Problem(problem)) => {
                return Err(damaged(path, std::io::Error::other(problem)));
            }
            None => return Err(damaged(path, std::io::Error::other("it is in no volume"))),
        }
    }
}

fn damaged(path: &TreePath, source: std::io::Error) -> Error {
    Error::Damaged {
        object: path.to_string(),
        source,
    }
}

/// Hands a file on. Its last byte is compared before anything of the set counts.
fn copy(
    snapshot: &mut Snapshot,
    listed: Listed,
    intake: &Intake,
    on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let path = listed.entry.path.clone();
    let mut check = Checker::new(&Proof {
        fingerprint: listed.fingerprint,
        block_length: listed.block_length,
    });
    let entry: Arc<Entry> = Arc::new(listed.entry);
    let body = Body::Blocks;
    intake.take(Step::Entry { entry, body })?;
    loop {
        let mut bytes = vec![0; BLOCK];
        let mut size = 0;
        while let Some(room) = bytes.get_mut(size..).filter(|room| !room.is_empty()) {
            match snapshot.read(room).map_err(|error| damaged(&path, error))? {
                0 => break,
                count => size += count,
            }
        }
        if size == 0 {
            break;
        }
        bytes.truncate(size);
        check.push(&bytes);
        intake.take(Step::Data(Block::new(bytes)))?;
        if on_bytes(size as u64).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if !check.ends_right() {
        let what = std::io::Error::other("the content is not what was backed up");
        return Err(damaged(&path, what));
    }
    intake.take(Step::End(Ending::Complete))?;
    Ok(ControlFlow::Continue(()))
}
