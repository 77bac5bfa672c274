//! Reading encrypted messages, of whatever cipher and compression a passphrase leads to.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use pgp::composed::{DecryptionOptions, Esk, Message, PlainSessionKey, TheRing};
use pgp::packet::Decompressor;
use pgp::types::{CompressionAlgorithm, Password, Seipdv1ReadMode, StringToKey};

use super::Passphrase;
use super::key::derive;
use crate::blocks::{BlockReader, Blocks};
use crate::inflate::Inflate;
use crate::read_ahead::{BLOCK, ReadAhead};

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
            Message::Literal { .. } => return Ok(Box::new(Plain(message))),
            Message::Compressed { .. } => decompress(message).map_err(OpenError::Malformed)?,
            // Whose signature it is, gpg would have to say. The content follows.
            Message::Signed { .. } => return Ok(Box::new(Plain(message))),
            Message::Encrypted { .. } => decrypt(message, passphrase)?,
        };
    }
    Err(OpenError::Depth)
}

/// The message in a compressed one. A thread of its own decrypts; large pieces make the decoder fast.
fn decompress(message: Message<'static>) -> Result<Message<'static>, pgp::errors::Error> {
    let mut packed = BlockReader::new(ReadAhead::new(message));
    if packed.fill_buf()?.first() == Some(&u8::from(CompressionAlgorithm::ZIP)) {
        packed.consume(1);
        return Message::from_bytes(BlockReader::new(Packed(Inflate::new(packed))));
    }
    let plain = Packed(Decompressor::from_reader(packed)?);
    Message::from_bytes(BufReader::with_capacity(BLOCK, plain))
}

/// The content of a compressed packet. At its end the packet is read to its own, where the message
/// around it is found to be whole or modified.
#[derive(Debug)]
struct Packed<D>(D);

impl Read for Packed<Decompressor<BlockReader<ReadAhead>>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            io::copy(self.0.get_mut(), &mut io::sink())?;
        }
        Ok(count)
    }
}

impl Blocks for Packed<Inflate<BlockReader<ReadAhead>>> {
    fn next_block(&mut self, used: Vec<u8>) -> io::Result<Option<Cursor<Vec<u8>>>> {
        let block = self.0.next_block(used)?;
        if block.is_none()
            && let Some(behind) = self.0.behind()
        {
            io::copy(behind, &mut io::sink())?;
        }
        Ok(block)
    }
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

/// The content of a message.
struct Plain(Message<'static>);

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // rPGP takes any read that gives nothing for the end, also one into no room.
        if buffer.is_empty() {
            Ok(0)
        } else {
            self.0.read(buffer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openpgp::{COMPRESSED_HEAD, LITERAL_HEAD, Sealer, SessionKey};

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let random: store::Random = std::sync::Arc::new(|bytes: &mut [u8]| bytes.fill(5));
        let key = SessionKey::from_passphrase(&Passphrase::new("secret"), &random);
        let mut out = Vec::new();
        let mut sealer = Sealer::new(&key, &random, &mut out);
        sealer.push(&COMPRESSED_HEAD, &mut out);
        let mut deflate =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut deflate, &LITERAL_HEAD).unwrap();
        io::Write::write_all(&mut deflate, plain).unwrap();
        for piece in deflate.finish().unwrap().chunks(777) {
            sealer.push(piece, &mut out);
        }
        sealer.finish(&mut out);
        out
    }

    fn read(message: Vec<u8>, passphrase: &str) -> Result<Vec<u8>, String> {
        let input = BufReader::new(Cursor::new(message));
        let mut content =
            open(input, Some(&Passphrase::new(passphrase))).map_err(|error| error.to_string())?;
        let mut plain = Vec::new();
        content
            .read_to_end(&mut plain)
            .map_err(|error| error.to_string())?;
        Ok(plain)
    }

    #[test]
    fn what_is_sealed_is_opened() {
        for size in [0, 1, 15, 16, 17, 65_535, 300_000] {
            let plain = testkit::Random::new(3).noise(size);
            assert!(read(sealed(&plain), "secret").unwrap() == plain, "{size}");
        }
    }

    #[test]
    fn a_read_without_room_does_not_end_the_content() {
        let plain = testkit::Random::new(4).noise(20_000);
        let input = BufReader::new(Cursor::new(sealed(&plain)));
        let mut content = open(input, Some(&Passphrase::new("secret"))).unwrap();
        let mut head = [0; 100];
        content.read_exact(&mut head).unwrap();
        assert_eq!(content.read(&mut []).unwrap(), 0);
        let mut rest = Vec::new();
        content.read_to_end(&mut rest).unwrap();
        assert!(rest == plain[100..]);
    }

    #[test]
    fn a_wrong_passphrase_and_a_changed_message_are_errors() {
        let message = sealed(&testkit::Random::new(5).noise(10_000));
        assert!(read(message.clone(), "other").is_err());
        for at in [message.len() - 1, message.len() / 2, 20, 60] {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert!(read(changed, "secret").is_err(), "{at}");
        }
        assert!(read(message[..message.len() - 30].to_vec(), "secret").is_err());
        assert!(read(b"no message".to_vec(), "secret").is_err());
        assert!(read(Vec::new(), "secret").is_err());
    }
}
