//! What is stored in MessagePack, as JSON, for people who look for a mistake.

use serde_json::{Map, Value};

use crate::msgpack::{Head, Malformed, Reader};

/// Values inside each other, at most.
const DEPTH_MAX: usize = 64;

/// Reads one value. Binary that is no text is written in hexadecimal, behind the character DEL.
///
/// # Errors
///
/// [`Malformed`].
pub fn unpacked(bytes: &[u8]) -> Result<Value, Malformed> {
    value(&mut Reader::new(bytes), 0)
}

fn value(reader: &mut Reader<'_>, depth: usize) -> Result<Value, Malformed> {
    if depth > DEPTH_MAX {
        return Err(reader.unexpected("fewer values inside each other"));
    }
    let start = reader.clone();
    Ok(match reader.head()? {
        Head::Nil => Value::Null,
        Head::Boolean(value) => value.into(),
        Head::Unsigned(number) => number.into(),
        Head::Negative(number) => number.into(),
        Head::Float(number) => number.into(),
        Head::Raw(_) => {
            *reader = start;
            text(reader.raw()?).into()
        }
        Head::Array(_) => {
            *reader = start;
            let count = reader.array()?;
            let values = (0..count).map(|_| value(reader, depth + 1));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Head::Map(_) => {
            *reader = start;
            let mut map = Map::new();
            for _ in 0..reader.map()? {
                let key = match value(reader, depth + 1)? {
                    Value::String(key) => key,
                    // Borg has no such keys. Written as text, keys within keys would grow without end.
                    Value::Array(_) | Value::Object(_) => {
                        return Err(reader.unexpected("a key that is no list and no map"));
                    }
                    key => key.to_string(),
                };
                map.insert(key, value(reader, depth + 1)?);
            }
            Value::Object(map)
        }
    })
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('\u{7f}') => text.to_owned(),
        _ => format!("\u{7f}{}", hex::encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_kinds_are_shown() {
        let bytes = b"\x82\xa1a\x92\x01\xff\xa1b\xa2\xff\xfe";
        let shown = unpacked(bytes).unwrap();
        assert_eq!(shown.to_string(), "{\"a\":[1,-1],\"b\":\"\u{7f}fffe\"}");
    }

    #[test]
    fn keys_within_keys_are_refused_before_they_grow() {
        let nested = [vec![0x81; 24], vec![0; 25]].concat();
        assert!(unpacked(&nested).is_err());
        assert!(unpacked(b"\x81\x90\x01").is_err());
        assert_eq!(unpacked(b"\x81\x07\x01").unwrap().to_string(), "{\"7\":1}");
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        assert!(unpacked(&[0x91; 100]).is_err());
    }
}
