//! Names of stored objects.

use std::fmt;
use std::str::FromStr;

use hex::FromHex;

/// What an object is stored under: for a chunk, the keyed hash of its plain content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 32]);

impl Id {
    /// The one object that is not named after its content: the manifest.
    pub const MANIFEST: Self = Self([0; 32]);
}

/// Why a text is no [`Id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 64 hexadecimal digits")]
pub struct BadId;

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        FromHex::from_hex(text).map(Self).map_err(|_| BadId)
    }
}

/// 64 hexadecimal digits in lower case.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_hexadecimal_digits() {
        let text = "00ff10".to_owned() + &"a7".repeat(29);
        let id: Id = text.parse().unwrap();
        assert_eq!(id.0[..3], [0, 0xff, 0x10]);
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        for bad in [
            "",
            "00",
            &text[1..],
            &(text.clone() + "0"),
            &"g0".repeat(32),
        ] {
            assert_eq!(bad.parse::<Id>(), Err(BadId));
        }
    }
}
