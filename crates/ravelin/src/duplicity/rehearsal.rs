//! Duplicity's store for rehearsals, `fortestsonly://PATH`: a folder in which chosen operations go
//! wrong, as environment variables say. Its own suite of tests uses it.
//!
//! Each variable holds a piece of an object's name: `DUP_FAIL_BY_SYSTEM_EXIT` ends the program
//! with status 30 right after such an object was written, `DUP_FAIL_WITH_EXCEPTION` makes each
//! operation on it fail, `DUP_FAIL_SKIP_PUT_SILENT` does not write it,
//! `DUP_FAIL_LAST_BYTE_MISSING` cuts its last byte off, and `DUP_FAIL_WAIT_FOR_VOLUME`, two pieces
//! as JSON, holds the first up until the second is there.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use store::{
    Capabilities, Content, Error, ErrorKind, Folder, Name, Object, Operation, Range, Reading,
    Scope, Space, Store, WriteMode,
};

pub(crate) struct Rehearsal {
    inner: Arc<dyn Store>,
}

impl Rehearsal {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner }
    }

    fn fail(&self, name: &Name, operation: Operation) -> Result<(), Error> {
        if is_meant("DUP_FAIL_WITH_EXCEPTION", name) {
            let error = Error::new(ErrorKind::Io, operation).on(name);
            return Err(error.because("DUP_FAIL_WITH_EXCEPTION asks for it"));
        }
        Ok(())
    }

    fn wait(&self, name: &Name) -> Result<(), Error> {
        let Some((first, second)) = pair("DUP_FAIL_WAIT_FOR_VOLUME") else {
            return Ok(());
        };
        let time = name.file_name().split('.').nth(1).unwrap_or_default();
        while name.file_name().contains(&first) {
            let mut is_there = false;
            self.inner
                .list(&Folder::root(), Scope::Folder, &mut |object| {
                    let other = object.name.file_name();
                    is_there |= other.contains(time) && other.contains(&second);
                    ControlFlow::Continue(())
                })?;
            if is_there {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

fn is_meant(variable: &str, name: &Name) -> bool {
    std::env::var(variable)
        .is_ok_and(|piece| !piece.is_empty() && name.file_name().contains(&piece))
}

fn pair(variable: &str) -> Option<(String, String)> {
    serde_json::from_str(&std::env::var(variable).ok()?).ok()
}

/// Content without its last byte.
struct Cut<'a>(&'a dyn Content);

impl Content for Cut<'_> {
    fn size(&self) -> u64 {
        self.0.size().saturating_sub(1)
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send + '_>> {
        let left = self.size().saturating_sub(offset);
        Ok(Box::new(io::Read::take(self.0.open(offset)?, left)))
    }
}

impl Store for Rehearsal {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            copy: false,
            ..self.inner.capabilities()
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        receive: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.inner.list(folder, scope, receive)
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        self.fail(name, Operation::Stat)?;
        self.inner.stat(name)
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        self.fail(name, Operation::Read)?;
        self.inner.read(name, range)
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        self.fail(name, Operation::Write)?;
        self.wait(name)?;
        if is_meant("DUP_FAIL_SKIP_PUT_SILENT", name) {
            return Ok(Object {
                name: name.clone(),
                size: 0,
                modified: None,
                version: None,
                digest: None,
            });
        }
        let written = if is_meant("DUP_FAIL_LAST_BYTE_MISSING", name) {
            self.inner.write(name, &Cut(content), mode)
        } else {
            self.inner.write(name, content, mode)
        };
        if is_meant("DUP_FAIL_BY_SYSTEM_EXIT", name) {
            std::process::exit(30);
        }
        written
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        self.inner.delete(name)
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.inner.rename(from, to)
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        self.inner.space()
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        self.inner.tidy(age)
    }
}
