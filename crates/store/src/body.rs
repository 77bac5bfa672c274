//! A body of exactly so many bytes.

use std::io::{self, Read};

use crate::digest::{Digest, DigestKind, Hasher};
use crate::{Error, ErrorKind, Name, Operation};

/// Gives `size` bytes or an error, never fewer: a connection that ends early is not the end of
/// an object.
pub(crate) struct Exact<R> {
    inner: R,
    left: u64,
    name: Name,
}

impl<R: Read> Exact<R> {
    pub(crate) fn new(inner: R, size: u64, name: &Name) -> Self {
        Self {
            inner,
            left: size,
            name: name.clone(),
        }
    }
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = match self.inner.read(&mut buffer[..wanted]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(broken(error, &self.name).into()),
        };
        if count == 0 {
            let missing = format!("{} bytes are missing at the end", self.left);
            return Err(Error::new(ErrorKind::Unavailable, Operation::Read)
                .on(&self.name)
                .because(missing)
                .into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Compares what went through with a checksum, at the end: a body whose bytes are others fails
/// there, so what was read of it must not be kept.
pub(crate) struct Verified<R> {
    inner: R,
    hasher: Option<Hasher>,
    digest: Digest,
    name: Name,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, digest: Digest, name: &Name) -> Self {
        let kind = match digest {
            Digest::Md5(_) => DigestKind::Md5,
            Digest::Sha1(_) => DigestKind::Sha1,
            Digest::Sha256(_) => DigestKind::Sha256,
            Digest::Dropbox(_) => DigestKind::Dropbox,
        };
        Self {
            inner,
            hasher: Some(Hasher::new(kind)),
            digest,
            name: name.clone(),
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
        } else if !buffer.is_empty()
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.digest
        {
            let error = Error::new(ErrorKind::Corrupt, Operation::Read).on(&self.name);
            return Err(error
                .because("its checksum is another than the service knows")
                .into());
        }
        Ok(count)
    }
}

/// An error in the middle of a body. What is not known to be of this machine is the connection's.
fn broken(error: io::Error, name: &Name) -> Error {
    let mut error = Error::from_io(error, Operation::Read, name);
    let local = error
        .source
        .as_ref()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.raw_os_error() == Some(5));
    if error.kind == ErrorKind::Io && !local {
        error.kind = ErrorKind::Unavailable;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_is_an_error() {
        let name = Name::new("x").unwrap();
        let mut bytes = Vec::new();
        let error = Exact::new(b"123".as_slice(), 5, &name)
            .read_to_end(&mut bytes)
            .unwrap_err();
        assert_eq!(
            Error::unwrap_io(error).unwrap().kind,
            ErrorKind::Unavailable
        );
        assert_eq!(
            Exact::new(b"12345".as_slice(), 3, &name)
                .read_to_end(&mut bytes)
                .unwrap(),
            3
        );
    }
}
