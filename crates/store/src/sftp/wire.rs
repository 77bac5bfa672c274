//! Messages of SFTP version 3, to and from bytes.
//!
//! Source: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL file for the extensions.

use std::io::{self, Read};

/// Longest message that is accepted. OpenSSH's limit.
const MESSAGE_MAX: u32 = 256 * 1024;

/// Kinds of messages that are sent.
pub(super) mod kind {
    pub(crate) const INIT: u8 = 1;
    pub(crate) const OPEN: u8 = 3;
    pub(crate) const CLOSE: u8 = 4;
    pub(crate) const READ: u8 = 5;
    pub(crate) const WRITE: u8 = 6;
    pub(crate) const LSTAT: u8 = 7;
    pub(crate) const FSTAT: u8 = 8;
    pub(crate) const FSETSTAT: u8 = 10;
    pub(crate) const OPENDIR: u8 = 11;
    pub(crate) const READDIR: u8 = 12;
    pub(crate) const REMOVE: u8 = 13;
    pub(crate) const MKDIR: u8 = 14;
    pub(crate) const RMDIR: u8 = 15;
    pub(crate) const STAT: u8 = 17;
    pub(crate) const EXTENDED: u8 = 200;
}

/// A message under construction.
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Begins with room for the length, the kind and the request's number.
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind, 0, 0, 0, 0])
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&size.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// The bytes to be sent under a number.
    pub(super) fn finish(mut self, id: u32) -> Vec<u8> {
        let size = u32::try_from(self.0.len().saturating_sub(4)).unwrap_or(u32::MAX);
        for (place, value) in [(0, size), (5, id)] {
            if let Some(field) = self.0.get_mut(place..place + 4) {
                field.copy_from_slice(&value.to_be_bytes());
            }
        }
        self.0
    }
}

/// Reads one message: kind and the rest. `None` at the end.
pub(super) fn read_message(stream: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut size = [0; 4];
    match stream.read_exact(&mut size) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let size = u32::from_be_bytes(size);
    // What is printed by a login script instead of a message shows as an impossible size.
    if size == 0 || size > MESSAGE_MAX + 1024 {
        return Err(invalid(
            "the server does not speak SFTP: does its login script print something?",
        ));
    }
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let mut rest = vec![0; size as usize - 1];
    stream.read_exact(&mut rest)?;
    Ok(Some((kind[0], rest)))
}

/// Takes fields from a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = self.u32()?;
        self.take(size as usize)
    }
}

/// What a server tells of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) permissions: Option<u32>,
    pub(super) modified_seconds: Option<u32>,
}

impl Attributes {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let flags = fields.u32()?;
        let mut attributes = Self::default();
        if flags & 1 != 0 {
            attributes.size = Some(fields.u64()?);
        }
        if flags & 2 != 0 {
            fields.take(8)?;
        }
        if flags & 4 != 0 {
            attributes.permissions = Some(fields.u32()?);
        }
        if flags & 8 != 0 {
            fields.take(4)?;
            attributes.modified_seconds = Some(fields.u32()?);
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..fields.u32()? {
                fields.bytes()?;
                fields.bytes()?;
            }
        }
        Some(attributes)
    }

    pub(super) fn is_folder(&self) -> bool {
        self.permissions
            .is_some_and(|mode| mode & 0o170_000 == 0o040_000)
    }

    pub(super) fn is_file(&self) -> bool {
        self.permissions
            .is_none_or(|mode| mode & 0o170_000 == 0o100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_and_number() {
        let bytes = Message::new(kind::OPEN).bytes(b"ab").u32(7).finish(5);
        assert_eq!(
            bytes,
            [
                0, 0, 0, 15, 3, 0, 0, 0, 5, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 7
            ]
        );
        let (kind, rest) = read_message(&mut bytes.as_slice()).unwrap().unwrap();
        let mut fields = Fields(&rest);
        assert_eq!(
            (
                kind,
                fields.u32(),
                fields.bytes(),
                fields.u32(),
                fields.u32()
            ),
            (3, Some(5), Some(b"ab".as_slice()), Some(7), None)
        );
    }

    #[test]
    fn sizes_that_lie_allocate_nothing() {
        for bytes in [
            b"Welcome to the server".as_slice(),
            &[0, 0, 0, 0],
            &[255; 8],
        ] {
            assert!(read_message(&mut &*bytes).is_err());
        }
        assert!(read_message(&mut [].as_slice()).unwrap().is_none());
        assert_eq!(Fields(&[255, 255, 255, 255, 1]).bytes(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0_u8.., 0..64)) {
            let _ = Attributes::read(&mut Fields(&bytes));
            let _ = read_message(&mut bytes.as_slice());
        }
    }
}
