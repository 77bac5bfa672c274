//! Reading encrypted messages, of whatever cipher and compression a passphrase leads to.

use std::fmt;
use std::io::{BufRead, Read};

use pgp::composed::{DecryptionOptions, Esk, Message, PlainSessionKey, TheRing};
use pgp::types::{Password, Seipdv1ReadMode, StringToKey};

use super::Passphrase;
use super::key::derive;

/// How many packets may be wrapped around the data: encryption, compression, a signature.
const DEPTH_MAX: usize = 4;

/// Why a message cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is encrypted and there is no passphrase.
    #[error("the file is encrypted, and no passphrase was given")]
    NoPassphrase,
    /// The passphrase is another one, or the file is encrypted to a key.
    #[error("the passphrase does not open the file")]
    Passphrase(#[source] pgp::errors::Error),
    /// It is encrypted to keys only: GnuPG must open it.
    #[error("the file is encrypted to a key of GnuPG")]
    KeyNeeded,
    /// It is no OpenPGP message.
    #[error("the file is not an encrypted message that can be read")]
    Malformed(#[source] pgp::errors::Error),
    /// Too many packets in each other.
    #[error("the file has packets within packets beyond all reason")]
    Depth,
}

/// Opens a message and gives its content as a stream.
///
/// The content is unverified until the stream has ended: a modified message fails there. Memory is
/// bounded.
///
/// # Errors
///
/// [`OpenError`] when the passphrase does not fit or this is no message.
pub(crate) fn open<R>(
    mut input: R,
    passphrase: Option<&Passphrase>,
) -> Result<Box<dyn Read + Send>, OpenError>
where
    R: BufRead + fmt::Debug + Send + 'static,
{
    let first = input
        .fill_buf()
        .ok()
        .and_then(|bytes| bytes.first())
        .copied();
    // Binary packets start with the high bit set; armour is text.
    let mut message = if first.is_some_and(|byte| byte < 0x80) {
        Message::from_armor(input).map_err(OpenError::Malformed)?.0
    } else {
        Message::from_bytes(input).map_err(OpenError::Malformed)?
    };
    for _ in 0..DEPTH_MAX {
        message = match message {
            Message::Literal { .. } => return Ok(Box::new(message)),
            Message::Compressed { .. } => message.decompress().map_err(OpenError::Malformed)?,
            // Whose signature it is, gpg would have to say. The content follows.
            Message::Signed { .. } => return Ok(Box::new(message)),
            Message::Encrypted { .. } => decrypt(message, passphrase)?,
        };
    }
    Err(OpenError::Depth)
}

fn decrypt<'a>(
    message: Message<'a>,
    passphrase: Option<&Passphrase>,
) -> Result<Message<'a>, OpenError> {
    let Message::Encrypted { esk, .. } = &message else {
        return Ok(message);
    };
    let by_passphrase = esk
        .iter()
        .any(|esk| matches!(esk, Esk::SymKeyEncryptedSessionKey(_)));
    if !by_passphrase && !esk.is_empty() {
        return Err(OpenError::KeyNeeded);
    }
    let passphrase = passphrase.ok_or(OpenError::NoPassphrase)?;
    let session_key = session_key(esk, passphrase);
    let password = Password::from(passphrase.expose());
    let has_session_key = session_key.is_some();
    let ring = TheRing {
        message_password: vec![&password],
        session_keys: session_key.into_iter().collect(),
        decrypt_options: DecryptionOptions::new()
            .enable_legacy()
            .enable_gnupg_aead()
            .set_seipdv1_read_mode(Seipdv1ReadMode::Streaming),
        ..TheRing::default()
    };
    let opened = message.decrypt_the_ring(ring, has_session_key);
    opened
        .map(|(message, _)| message)
        .map_err(OpenError::Passphrase)
}

/// The session key, derived here, where it can be: gpg's own messages hash 65 MB for it, and the
/// processor's instructions do that several times faster than rPGP's collision-detecting SHA-1.
fn session_key(esk: &[Esk], passphrase: &Passphrase) -> Option<PlainSessionKey> {
    let [Esk::SymKeyEncryptedSessionKey(packet)] = esk else {
        return None;
    };
    if packet.encrypted_key().is_some_and(|key| !key.is_empty()) {
        return None;
    }
    let sym_alg = packet.sym_algorithm()?;
    let StringToKey::IteratedAndSalted {
        hash_alg,
        salt,
        count,
    } = packet.s2k()?
    else {
        return None;
    };
    let secret = passphrase.expose().as_bytes();
    let key = derive(
        u8::from(*hash_alg),
        secret,
        salt,
        *count,
        sym_alg.key_size(),
    )?;
    Some(PlainSessionKey::V3_4 {
        sym_alg,
        key: key.into(),
    })
}
