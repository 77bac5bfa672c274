//! One call, as it is read from a client.

use std::collections::BTreeMap;

use crate::msgpack::{Head, Reader};
use crate::{Id, Malformed};

/// A call. Arguments are looked at when they are needed; those that are not known are ignored,
/// as the protocol wants it.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Comes back with the answer.
    pub(super) number: u64,
    pub(super) method: &'a [u8],
    /// In the form of maps, or in that of Borg 1.0.
    pub(super) is_map: bool,
    /// Encoded, by name.
    arguments: BTreeMap<&'a [u8], &'a [u8]>,
}

/// Why an argument cannot be used: its name.
#[derive(Debug)]
pub(super) struct BadArgument(pub(super) &'static str);

impl<'a> Request<'a> {
    /// Reads a call.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(crate) fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        match reader.clone().head()? {
            Head::Map(_) => Self::parse_map(&mut reader),
            _ => Self::parse_array(&mut reader),
        }
    }

    fn parse_map(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut request = Self {
            number: 0,
            method: b"",
            is_map: true,
            arguments: BTreeMap::new(),
        };
        for _ in 0..reader.map()? {
            match reader.raw()? {
                b"i" => request.number = reader.unsigned()?,
                b"m" => request.method = reader.raw()?,
                b"a" => {
                    for _ in 0..reader.map()? {
                        let name = reader.raw()?;
                        request.arguments.insert(name, reader.encoded()?);
                    }
                }
                _ => reader.skip()?,
            }
        }
        Ok(request)
    }

    fn parse_array(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        if reader.array()? != 4 {
            return Err(reader.unexpected("a call of four values"));
        }
        // The type: always 1, never looked at.
        reader.skip()?;
        let number = reader.unsigned()?;
        let method = reader.raw()?;
        let mut arguments = BTreeMap::new();
        let names = positions(method);
        for index in 0..reader.array()? {
            let value = reader.encoded()?;
            if let Some(name) = names.get(index) {
                arguments.insert(name.as_bytes(), value);
            }
        }
        Ok(Self {
            number,
            method,
            is_map: false,
            arguments,
        })
    }

    /// An argument that is there and not nil.
    fn argument(&self, name: &'static str) -> Option<Reader<'a>> {
        let mut reader = Reader::new(self.arguments.get(name.as_bytes())?);
        (!reader.nil()).then_some(reader)
    }

    /// Whether a client that knows maps has introduced itself.
    pub(super) fn introduces_itself(&self) -> bool {
        let client = self.argument("client_data");
        client.is_some_and(|mut client| matches!(client.head(), Ok(Head::Map(_))))
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, BadArgument> {
        let Some(mut value) = self.argument(name) else {
            return Ok(None);
        };
        match value.head() {
            Ok(Head::Boolean(flag)) => Ok(Some(flag)),
            Ok(Head::Unsigned(number)) => Ok(Some(number != 0)),
            _ => Err(BadArgument(name)),
        }
    }

    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, BadArgument> {
        match self.argument(name) {
            Some(mut value) => value.unsigned().map(Some).map_err(|_| BadArgument(name)),
            None => Ok(None),
        }
    }

    /// A number that may have a fraction.
    pub(super) fn float(&self, name: &'static str) -> Result<Option<f64>, BadArgument> {
        let Some(mut value) = self.argument(name) else {
            return Ok(None);
        };
        match value.head() {
            Ok(Head::Float(number)) => Ok(Some(number)),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a number of seconds, or a ratio"
            )]
            Ok(Head::Unsigned(number)) => Ok(Some(number as f64)),
            Ok(Head::Negative(_)) => Ok(Some(-1.0)),
            _ => Err(BadArgument(name)),
        }
    }

    pub(super) fn bytes(&self, name: &'static str) -> Result<Option<&'a [u8]>, BadArgument> {
        match self.argument(name) {
            Some(mut value) => value.raw().map(Some).map_err(|_| BadArgument(name)),
            None => Ok(None),
        }
    }

    pub(super) fn id(&self, name: &'static str) -> Result<Option<Id>, BadArgument> {
        match self.argument(name) {
            Some(mut value) => match value.raw_array() {
                Ok(id) => Ok(Some(Id(*id))),
                Err(_) => Err(BadArgument(name)),
            },
            None => Ok(None),
        }
    }
}

/// The names of arguments that are given by position.
///
/// Source: `compatMap` in Borg 1.4's `remote.py`.
pub(super) fn positions(method: &[u8]) -> &'static [&'static str] {
    match method {
        b"negotiate" => &["client_data"],
        b"open" => &[
            "path",
            "create",
            "lock_wait",
            "lock",
            "exclusive",
            "append_only",
        ],
        b"check" => &["repair", "save_space"],
        b"commit" => &["save_space"],
        b"list" => &["limit", "marker"],
        b"put" => &["id", "data"],
        b"get" | b"delete" => &["id"],
        b"save_key" => &["keydata"],
        b"commit_nonce_reservation" => &["next_unreserved", "start_nonce"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_call_are_understood() {
        let map = b"\x83\xa1i\x07\xa1m\xa4list\xa1a\x83\xa5limit\x05\xa6marker\xc0\xa5other\x90";
        let array = b"\x94\x01\x07\xa4list\x92\x05\xc0";
        for (frame, is_map) in [(map.as_slice(), true), (array, false)] {
            let request = Request::parse(frame).unwrap();
            assert_eq!(request.number, 7);
            assert_eq!(request.method, b"list");
            assert_eq!(request.is_map, is_map);
            assert_eq!(request.number("limit").unwrap(), Some(5));
            assert!(request.id("marker").unwrap().is_none());
        }
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for frame in [b"\x05".as_slice(), b"\x91\x01", b"\x81\xa1i\xa1x"] {
            assert!(Request::parse(frame).is_err(), "{frame:?}");
        }
        let request = Request::parse(b"\x83\xa1i\x01\xa1m\xa3get\xa1a\x81\xa2id\xa1x").unwrap();
        assert!(request.id("id").is_err());
    }
}
