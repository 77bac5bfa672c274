//! Authentication of the manifest and of archives, on top of that of objects.
//!
//! The MAC of an object says that somebody with the key has written it, but not that it was
//! written to be the manifest: an attacker could put any object in its place. So manifest and
//! archives carry a `tam`: an HMAC over themselves, with a key that is derived for this one
//! purpose. It is checked over the bytes as they came, with the HMAC set to zero; never over
//! something that was read and written again.

use bstr::ByteSlice;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::Key;
use crate::msgpack::{Malformed, Reader, Writer, fill};

/// Bytes of the HMAC, of its key and of the salt.
pub(crate) const TAM_SIZE: usize = 64;

/// The only kind there is.
const TYPE: &[u8] = b"HKDF_HMAC_SHA512";

/// What is authenticated: the one cannot take the place of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Manifest,
    Archive,
}

impl Purpose {
    fn context(self) -> &'static [u8] {
        match self {
            Self::Manifest => b"manifest",
            Self::Archive => b"archive",
        }
    }
}

/// What the authentication of a manifest or an archive has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tam {
    /// It is right.
    Verified {
        /// The salt. With the same salt the same content has the same bytes, and an archive the
        /// same id.
        salt: [u8; TAM_SIZE],
    },
    /// There is none, or one of a kind that is not known, and none was asked for.
    Absent,
}

impl Tam {
    /// Whether it was there and right.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self, Self::Verified { .. })
    }
}

/// Why a manifest or an archive must not be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTam {
    /// It is not authenticated, but must be.
    #[error("it is not authenticated, but must be")]
    Missing,
    /// It was forged, or damaged.
    #[error("its authentication is wrong")]
    Wrong,
    /// Authenticated in a way that is not known here.
    #[error("it is authenticated in an unknown way, `{suite}`")]
    Unsupported {
        /// The name of the way.
        suite: String,
    },
    /// It cannot be read.
    #[error("it is damaged")]
    Malformed(#[from] Malformed),
}

/// Writes the value of `tam` with an HMAC of zeros, and gives where the HMAC stands.
pub(crate) fn write(w: &mut Writer<'_>, salt: &[u8; TAM_SIZE]) -> usize {
    w.map(3);
    w.raw("hmac");
    w.raw([0; TAM_SIZE]);
    let hmac_at = w.position() - TAM_SIZE;
    w.raw("salt");
    w.raw(salt);
    w.raw("type");
    w.raw(TYPE);
    hmac_at
}

/// Puts the HMAC of `packed` where [`write`] left room for it.
pub(crate) fn sign(
    key: &Key,
    purpose: Purpose,
    salt: &[u8; TAM_SIZE],
    packed: &mut [u8],
    hmac_at: usize,
) {
    let hmac = hmac(key, purpose, salt).chain_update(&*packed);
    let hmac = hmac.finalize().into_bytes();
    if let Some(place) = packed.get_mut(hmac_at..hmac_at + TAM_SIZE) {
        place.copy_from_slice(&hmac);
    }
}

/// Checks the authentication of `packed`.
///
/// # Errors
///
/// [`BadTam::Missing`] and [`BadTam::Unsupported`] only if it is `required`.
pub(crate) fn verify(
    key: &Key,
    purpose: Purpose,
    packed: &[u8],
    required: bool,
) -> Result<Tam, BadTam> {
    let Some(mut tam) = find(packed)? else {
        return match required {
            true => Err(BadTam::Missing),
            false => Ok(Tam::Absent),
        };
    };
    let (mut suite, mut found, mut salt) = (None, None, None);
    for _ in 0..tam.map().map_err(|_| BadTam::Wrong)? {
        match tam.raw()? {
            b"type" => fill(&mut suite, tam.raw()?, "type")?,
            b"hmac" => fill(&mut found, tam.raw()?, "hmac")?,
            b"salt" => fill(&mut salt, tam.raw()?, "salt")?,
            _ => tam.skip()?,
        }
    }
    let suite = suite.unwrap_or(b"<none>");
    if suite != TYPE {
        return match required {
            true => Err(BadTam::Unsupported {
                suite: suite.escape_ascii().to_string(),
            }),
            false => Ok(Tam::Absent),
        };
    }
    let array = |bytes: Option<&[u8]>| bytes?.try_into().ok();
    let found: [u8; TAM_SIZE] = array(found).ok_or(BadTam::Wrong)?;
    let salt: [u8; TAM_SIZE] = array(salt).ok_or(BadTam::Wrong)?;
    // The stock program takes the first place where these bytes stand, so that is the place.
    let at = packed.find(found).ok_or(BadTam::Wrong)?;
    let (before, rest) = packed.split_at(at);
    let behind = rest.get(TAM_SIZE..).unwrap_or_default();
    hmac(key, purpose, &salt)
        .chain_update(before)
        .chain_update([0; TAM_SIZE])
        .chain_update(behind)
        .verify(&found.into())
        .map_err(|_| BadTam::Wrong)?;
    Ok(Tam::Verified { salt })
}

/// A reader at the value of `tam`.
fn find(packed: &[u8]) -> Result<Option<Reader<'_>>, Malformed> {
    let mut reader = Reader::new(packed);
    for _ in 0..reader.map()? {
        if reader.raw()? == b"tam" {
            return Ok(Some(reader));
        }
        reader.skip()?;
    }
    Ok(None)
}

fn hmac(key: &Key, purpose: Purpose, salt: &[u8; TAM_SIZE]) -> Hmac<Sha512> {
    let context = purpose.context();
    let tam_key = match key.tam_secret() {
        Some(secret) => {
            let info = [b"borg-metadata-authentication-", context].concat();
            let mut tam_key = Zeroizing::new(vec![0; TAM_SIZE]);
            // 64 bytes are far from more than the function can give.
            let _ = Hkdf::<Sha512>::new(Some(salt), &secret).expand(&info, &mut tam_key);
            tam_key
        }
        // Without a key this proves nothing, but it is written and checked all the same.
        None => Zeroizing::new([salt, context].concat()),
    };
    match Hmac::new_from_slice(&tam_key) {
        Ok(hmac) => hmac,
        Err(_) => unreachable!("HMAC takes a key of any length"),
    }
}
