//! A store that puts up with passing faults.
//!
//! Each operation is begun again while its error is a passing one. Two of them need care. A read
//! goes on where it broke off, but only in the same state of the object: after a replacement, the
//! two halves would not fit. A creation whose answer was lost finds its own object on the second
//! try: the bytes tell whether it is ours.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::body::Verified;
use std::time::Duration;

use crate::{
    Capabilities, Content, Environment, Error, ErrorKind, Folder, Name, Object, Operation,
    Patience, Random, Range, Reading, Scope, Space, Stopping, Store, WriteMode,
};

/// A [`Store`] around another, with [`Patience`].
pub struct Retry {
    inner: Arc<dyn Store>,
    rules: Arc<Rules>,
}

struct Rules {
    patience: Patience,
    random: Random,
    stopping: Stopping,
}

impl Rules {
    fn run<T>(&self, attempt: impl FnMut(u32) -> Result<T, Error>) -> Result<T, Error> {
        self.patience.run(&*self.random, &*self.stopping, attempt)
    }
}

impl Retry {
    /// Puts patience around a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, environment: &Environment) -> Self {
        let rules = Rules {
            patience: environment.patience,
            random: Arc::clone(&environment.random),
            stopping: Arc::clone(&environment.stopping),
        };
        Self {
            inner,
            rules: Arc::new(rules),
        }
    }
}

impl Store for Retry {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.rules.run(|_| {
            let mut given = false;
            let listed = self.inner.list(folder, scope, &mut |object| {
                given = true;
                each(object)
            });
            // What was given cannot be taken back: beginning again would give it twice.
            listed.map_err(|error| Error {
                gave_up: error.gave_up || given,
                ..error
            })
        })
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        self.rules.run(|_| self.inner.stat(name))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let Reading { object, body } = self.rules.run(|_| self.inner.read(name, range))?;
        let left = range.size_in(object.size);
        let body = Resuming {
            store: Arc::clone(&self.inner),
            rules: Arc::clone(&self.rules),
            object: object.clone(),
            body,
            at: range.start,
            left,
        };
        // The whole can be compared with what the service knows of it, over all breaks.
        let body: Box<dyn Read + Send> = match object.digest {
            Some(digest) if range == Range::WHOLE => Box::new(Verified::new(body, digest, name)),
            _ => Box::new(body),
        };
        Ok(Reading { object, body })
    }

    fn file(&self, name: &Name) -> Result<Option<File>, Error> {
        self.rules.run(|_| self.inner.file(name))
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        let mut doubtful = false;
        self.rules
            .run(|_| match self.inner.write(name, content, mode) {
                Err(error)
                    if error.kind == ErrorKind::AlreadyExists && (doubtful || error.doubtful) =>
                {
                    if same_bytes(&*self.inner, name, content)? {
                        self.inner.stat(name)
                    } else {
                        Err(error)
                    }
                }
                Err(error) => {
                    doubtful |= error.is_passing();
                    Err(error)
                }
                Ok(object) => Ok(object),
            })
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        self.rules.run(|_| self.inner.delete(name))
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let mut doubtful = false;
        self.rules.run(|_| match self.inner.rename(from, to) {
            // It never replaces, so when the old name is gone and the new one is there, the first
            // try did it.
            Err(error)
                if (doubtful || error.doubtful)
                    && matches!(error.kind, ErrorKind::NotFound | ErrorKind::AlreadyExists) =>
            {
                let old = self.inner.stat(from).map(drop).map_err(|error| error.kind);
                let done = old == Err(ErrorKind::NotFound) && self.inner.stat(to).is_ok();
                if done { Ok(()) } else { Err(error) }
            }
            Err(error) => {
                doubtful |= error.is_passing();
                Err(error)
            }
            Ok(()) => Ok(()),
        })
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.rules.run(|_| self.inner.copy(from, to))
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        self.rules.run(|_| self.inner.space())
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        self.rules.run(|_| self.inner.tidy(age))
    }
}

/// Whether the object holds exactly these bytes.
pub(crate) fn same_bytes(
    store: &dyn Store,
    name: &Name,
    content: &dyn Content,
) -> Result<bool, Error> {
    let Reading { object, mut body } = store.read(name, Range::WHOLE)?;
    if object.size != content.size() {
        return Ok(false);
    }
    let fail = |error| Error::from_io(error, Operation::Read, name);
    let mut ours = content.open(0).map_err(fail)?;
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let count = ours.read(&mut left).map_err(fail)?;
        if count == 0 {
            return Ok(true);
        }
        body.read_exact(&mut right[..count]).map_err(fail)?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

/// A body that goes on where the connection broke off.
struct Resuming {
    store: Arc<dyn Store>,
    rules: Arc<Rules>,
    object: Object,
    body: Box<dyn Read + Send>,
    at: u64,
    left: u64,
}

impl Resuming {
    fn resume(&mut self, buffer: &mut [u8], first: Error) -> Result<usize, Error> {
        let mut failed = Some(first);
        let (body, count) = self.rules.run(|_| {
            if let Some(error) = failed.take() {
                return Err(error);
            }
            let range = Range::new(self.at, self.left);
            let mut reading = self.store.read(&self.object.name, range)?;
            if !same_state(&reading.object, &self.object) {
                return Err(Error::new(ErrorKind::Changed, Operation::Read).on(&self.object.name));
            }
            let count = read_once(&mut *reading.body, buffer)
                .map_err(|error| Error::from_io(error, Operation::Read, &self.object.name))?;
            Ok((reading.body, count))
        })?;
        self.body = body;
        Ok(count)
    }
}

fn same_state(left: &Object, right: &Object) -> bool {
    left.size == right.size && left.version == right.version && left.modified == right.modified
}

fn read_once(body: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match body.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Read for Resuming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.left == 0 {
            return Ok(0);
        }
        let count = match read_once(&mut *self.body, buffer) {
            Ok(count) => count,
            Err(error) => {
                let name = self.object.name.clone();
                let error = Error::from_io(error, Operation::Read, &name);
                if !error.is_passing() {
                    return Err(error.into());
                }
                self.resume(buffer, error)?
            }
        };
        self.at += count as u64;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Faulty, Memory};
    use std::time::Duration;

    fn environment() -> Environment {
        let mut environment = Environment::fixed();
        environment.patience = Patience {
            total: Duration::from_secs(5),
            wait_first: Duration::from_millis(1),
            wait_max: Duration::from_millis(2),
            stall: Duration::from_secs(1),
        };
        environment
    }

    fn name() -> Name {
        Name::new("x").unwrap()
    }

    fn around(memory: &Memory, faults: impl IntoIterator<Item = (u64, Fault)>) -> Retry {
        Retry::new(
            Arc::new(Faulty::new(memory.clone(), faults)),
            &environment(),
        )
    }

    #[test]
    fn a_creation_whose_answer_was_lost_is_recognised_as_our_own() {
        let memory = Memory::new();
        let store = around(&memory, [(1, Fault::After(ErrorKind::Unavailable))]);
        store.write(&name(), b"mine", WriteMode::Create).unwrap();
        // Somebody else's stays what it is.
        let store = around(&memory, [(1, Fault::Before(ErrorKind::Unavailable))]);
        let error = store
            .write(&name(), b"nine", WriteMode::Create)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
        assert_eq!(crate::read_all(&memory, &name(), 9).unwrap(), b"mine");
    }

    #[test]
    fn a_rename_whose_answer_was_lost_is_done() {
        let memory = Memory::new();
        memory.write(&name(), b"a", WriteMode::Create).unwrap();
        let store = around(&memory, [(1, Fault::After(ErrorKind::Unavailable))]);
        store.rename(&name(), &Name::new("y").unwrap()).unwrap();
    }

    #[test]
    fn a_read_that_breaks_off_goes_on_where_it_was() {
        let memory = Memory::new();
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        memory.write(&name(), &bytes, WriteMode::Create).unwrap();
        let store = around(
            &memory,
            [
                (1, Fault::Cut(70_000)),
                (2, Fault::Cut(0)),
                (3, Fault::Cut(5)),
            ],
        );
        assert_eq!(crate::read_all(&store, &name(), 1 << 20).unwrap(), bytes);
    }

    #[test]
    fn halves_of_two_states_are_never_put_together() {
        let memory = Memory::new();
        memory
            .write(&name(), b"0123456789", WriteMode::Create)
            .unwrap();
        let store = around(&memory, [(1, Fault::Cut(5))]);
        let mut body = store.read(&name(), Range::WHOLE).unwrap().body;
        memory
            .write(&name(), b"abcdefghij", WriteMode::Replace)
            .unwrap();
        let error = body.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(Error::unwrap_io(error).unwrap().kind, ErrorKind::Changed);
    }
}
