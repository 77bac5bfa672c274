//! Takes in items that do not come from a scan: of a tar file, of another archive.

use std::io::{ErrorKind, Read};
use std::sync::PoisonError;

use super::batch::{FileMark, Mark};
use super::{Cutter, Intake};
use crate::{Error, Item};

/// So much of a stream is read at once.
const READ_SIZE: usize = 256 * 1024;

impl Intake {
    /// Takes an item as it is, and its content where it has some. The content is not remembered
    /// for the next run: there is no file to recognise.
    ///
    /// # Errors
    ///
    /// [`Error::Tar`] when the content cannot be read: the intake must be given up then.
    /// [`Error::Stopped`] when an earlier item cannot be stored: [`Self::commit`] says why.
    pub fn take_item(&self, item: Item, content: Option<&mut dyn Read>) -> Result<(), Error> {
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let item = Box::new(item);
        match content {
            None => cutter.batch.marks.push(Mark::Item(item)),
            Some(content) => {
                let memory = None;
                cutter.batch.mark(FileMark::Begin { item, memory });
                cutter.read(content)?;
                let Cutter { chunker, batch, .. } = &mut *cutter;
                chunker.finish(&mut |chunk| batch.push(chunk.into()));
                batch.mark(FileMark::Complete);
            }
        }
        cutter.hand_on_if_full()
    }
}

impl Cutter {
    fn read(&mut self, content: &mut dyn Read) -> Result<(), Error> {
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Tar { source }),
            };
            let Self { chunker, batch, .. } = self;
            let read = buffer.get(..count).unwrap_or_default();
            chunker.push(read, &mut |chunk| batch.push(chunk.into()));
            self.hand_on_if_full()?;
        }
    }

    fn hand_on_if_full(&mut self) -> Result<(), Error> {
        if self.batch.is_full(self.has_lanes) {
            self.hand_on()?;
        }
        Ok(())
    }
}
