//! The seam between a format and the place where its bytes are kept.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use crate::{Content, Digest, Error, Folder, Name};

/// A place that keeps objects: whole ones, under names, read whole or in part.
///
/// All methods block and may be called from several threads at once. Every store passes
/// [`conformance`](crate::conformance::run), which states the contract below as checks.
///
/// # What holds after an error
///
/// Of any kind: no object is damaged, no object is there in part, and nothing but the object
/// named has changed. An error that [is passing](Error::is_passing) leaves open whether the
/// operation took place: the answer may have been lost. Every method may be called again, with
/// the results stated at each.
pub trait Store: Send + Sync {
    /// What this store claims to do. Claims of a server are not to be believed:
    /// [`probe`](crate::probe::probe) tries them.
    fn capabilities(&self) -> Capabilities;

    /// Hands every object in `folder` to `each`, until it breaks off. A folder that does not exist
    /// is empty.
    ///
    /// Complete: an object that exists during the whole call is given exactly once; one that comes
    /// or goes meanwhile is given once or not at all. The order is not promised. Objects
    /// with names that are no [`Name`] are not ours and are left out, and so are unfinished
    /// uploads.
    ///
    /// # Errors
    ///
    /// After an error the objects given so far are right, but not all. Calling again starts over.
    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// Looks at one object.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when it does not exist.
    fn stat(&self, name: &Name) -> Result<Object, Error>;

    /// Begins to read an object, or a range of it. A range that ends behind the object is cut; one
    /// that starts at its end or behind it is empty.
    ///
    /// The body fails, never ends early: a reader that reaches the end has got all bytes of one
    /// state of the object. [`Reading::object`] tells which state.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when it does not exist. Errors of the body are
    /// [`Error`]s inside of [`std::io::Error`]: see [`Error::unwrap_io`].
    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error>;

    /// The object as a file of this machine, to be read as often as one likes: who would copy what
    /// comes from elsewhere need not. `None` where it is none, or where reading costs.
    ///
    /// The file is one state of the object; what replaces the object does not touch it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    fn file(&self, name: &Name) -> Result<Option<File>, Error> {
        let _ = name;
        Ok(None)
    }

    /// Writes an object whole. Missing folders are created.
    ///
    /// Atomic: until the call is done, others see the old object or none; afterwards the new one.
    /// When it returns, the object is durable, and the service's own checksum (where it has one) has
    /// been compared with that of `content`.
    ///
    /// With [`WriteMode::Replace`] it may be repeated with the same result. With
    /// [`WriteMode::Create`] a repetition after a passing error may find the object of the first
    /// try; [`Retry`](crate::Retry) compares the bytes and settles that.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) with [`WriteMode::Create`];
    /// [`Unsupported`](crate::ErrorKind::Unsupported) with it where a store cannot do that
    /// atomically; [`Full`](crate::ErrorKind::Full); [`Corrupt`](crate::ErrorKind::Corrupt) when the
    /// checksums differ (the object is not there, or the old one is).
    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error>;

    /// Deletes an object. One that does not exist is deleted already: that is success, so that
    /// the call may be repeated.
    ///
    /// # Errors
    ///
    /// [`Denied`](crate::ErrorKind::Denied) where the credentials or a lock forbid it.
    fn delete(&self, name: &Name) -> Result<(), Error>;

    /// Gives an object another name, without moving its bytes; nothing is ever replaced.
    ///
    /// At each moment it has the old name or the new one, at some perhaps both, at none neither. Repeated after a passing error it may answer
    /// [`NotFound`](crate::ErrorKind::NotFound): then look whether `to` is there.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when `to` is there,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the store would have to copy.
    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error>;

    /// Gives an object a second name, without its bytes passing through this machine; what stands
    /// there is replaced. The two live apart from then on.
    ///
    /// Atomic and durable as [`write`](Self::write), and it may be repeated. A store that can copy
    /// can copy [`COPY_SIZE_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when `from` does not exist;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the bytes would have to come here, or
    /// the object is larger; [`Full`](crate::ErrorKind::Full).
    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let _ = to;
        Err(Error::unsupported(
            crate::Operation::Copy,
            from,
            "the bytes would have to come here and go back",
        ))
    }

    /// How much room is left; `None` where the store does not know.
    ///
    /// # Errors
    ///
    /// When the store knows, but could not be asked.
    fn space(&self) -> Result<Option<Space>, Error>;

    /// Removes what interrupted writes left behind and nobody has gone on with for `age`: files
    /// without their name, parts of uploads. Objects are never touched. Gives how many were
    /// removed.
    ///
    /// A write that takes longer than `age` may fail through it; [`ABANDONED`] is safe. Where an
    /// interrupted write leaves nothing, or the service clears it, there is nothing to do.
    ///
    /// # Errors
    ///
    /// What is removed so far stays so; the call may be repeated.
    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        let _ = age;
        Ok(0)
    }
}

/// When nobody goes on with a write any more: see [`Store::tidy`].
pub const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest object that every store copies that copies at all. Source: the limits of S3's
/// `CopyObject` and B2's `b2_copy_file`.
pub const COPY_SIZE_MAX: u64 = 5_000_000_000;

/// What a store claims to do beyond reading, writing, listing and deleting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// [`WriteMode::Create`] works and is atomic.
    pub create: bool,
    /// [`Store::rename`] works.
    pub rename: bool,
    /// [`Store::copy`] works.
    pub copy: bool,
    /// The checksum that the store compares when an object is written.
    pub digest: Option<crate::DigestKind>,
    /// An upload goes on after a crash of this program.
    pub resume: bool,
    /// Names that differ only in case are one name.
    pub case_folding: bool,
}

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The objects of the folder itself.
    Folder,
    /// Those of the folders below it, too.
    Tree,
}

/// What a store knows of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: Name,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<SystemTime>,
    /// Changes whenever the object is replaced: an entity tag, revision or file id. `None` where the
    /// store has nothing of the kind.
    pub version: Option<String>,
    /// The store's checksum of the content.
    pub digest: Option<Digest>,
}

/// A part of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte, counted from 0.
    pub start: u64,
    /// How many bytes; `None` is to the end.
    pub size: Option<u64>,
}

impl Range {
    /// All bytes.
    pub const WHOLE: Self = Self {
        start: 0,
        size: None,
    };

    /// `size` bytes from `start`.
    #[must_use]
    pub fn new(start: u64, size: u64) -> Self {
        Self {
            start,
            size: Some(size),
        }
    }

    /// How many bytes of an object of `object_size` bytes lie in the range.
    #[must_use]
    pub fn size_in(self, object_size: u64) -> u64 {
        let rest = object_size.saturating_sub(self.start);
        self.size.map_or(rest, |size| size.min(rest))
    }
}

/// An object being read.
pub struct Reading {
    /// The state that is read. Its size is that of the whole object, not of the range.
    pub object: Object,
    /// The bytes of the range.
    pub body: Box<dyn Read + Send>,
}

/// What to do with an object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteMode {
    /// Put the new one in its place.
    Replace,
    /// Leave it alone and fail. Of several that create at once, exactly one succeeds.
    Create,
}

/// Room in a store, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What can still be written.
    pub free: u64,
    /// The size of the disk or the quota, where known.
    pub total: Option<u64>,
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        (**self).list(folder, scope, each)
    }
    fn stat(&self, name: &Name) -> Result<Object, Error> {
        (**self).stat(name)
    }
    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        (**self).read(name, range)
    }
    fn file(&self, name: &Name) -> Result<Option<File>, Error> {
        (**self).file(name)
    }
    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        (**self).write(name, content, mode)
    }
    fn delete(&self, name: &Name) -> Result<(), Error> {
        (**self).delete(name)
    }
    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        (**self).rename(from, to)
    }
    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        (**self).copy(from, to)
    }
    fn space(&self) -> Result<Option<Space>, Error> {
        (**self).space()
    }
    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        (**self).tidy(age)
    }
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        (**self).list(folder, scope, each)
    }
    fn stat(&self, name: &Name) -> Result<Object, Error> {
        (**self).stat(name)
    }
    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        (**self).read(name, range)
    }
    fn file(&self, name: &Name) -> Result<Option<File>, Error> {
        (**self).file(name)
    }
    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        (**self).write(name, content, mode)
    }
    fn delete(&self, name: &Name) -> Result<(), Error> {
        (**self).delete(name)
    }
    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        (**self).rename(from, to)
    }
    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        (**self).copy(from, to)
    }
    fn space(&self) -> Result<Option<Space>, Error> {
        (**self).space()
    }
    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        (**self).tidy(age)
    }
}

/// All objects of a folder and below, sorted by name.
///
/// # Errors
///
/// Those of [`Store::list`].
pub fn list_all(store: &dyn Store, folder: &Folder) -> Result<Vec<Object>, Error> {
    let mut objects = Vec::new();
    store.list(folder, Scope::Tree, &mut |object| {
        objects.push(object);
        ControlFlow::Continue(())
    })?;
    objects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(objects)
}

/// Reads an object into memory, if it has at most `size_max` bytes.
///
/// # Errors
///
/// Those of [`Store::read`], and [`Invalid`](crate::ErrorKind::Invalid) when it is larger: nothing
/// is allocated then.
pub fn read_all(store: &dyn Store, name: &Name, size_max: u64) -> Result<Vec<u8>, Error> {
    use crate::{ErrorKind, Operation};
    let reading = store.read(name, Range::WHOLE)?;
    let size = reading.object.size;
    if size > size_max {
        return Err(Error::new(ErrorKind::Invalid, Operation::Read)
            .on(name)
            .because(format!(
                "it has {size} bytes, at most {size_max} were expected"
            )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    reading
        .body
        .take(size_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::from_io(error, Operation::Read, name))?;
    Ok(bytes)
}
