//! OpenPGP as gpg writes it for duplicity.
//!
//! Writing is done here, because one compressed stream serves several files and its pieces come
//! from several threads; the packets are few and simple. Reading, where anything may come along, is
//! left to rPGP. Where keys live in GnuPG, the real `gpg` does both: see [`program`].

mod key;
pub(crate) mod program;
pub(crate) mod read;
mod write;

pub use key::Passphrase;
pub(crate) use key::{Keys, SessionKey};
pub use read::OpenError;
pub(crate) use read::open;
pub(crate) use write::{COMPRESSED_HEAD, LITERAL_HEAD, Sealer};
