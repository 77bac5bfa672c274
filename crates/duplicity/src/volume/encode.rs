//! One file of the archive: pieces go in, the stored bytes and their hash come out.

use std::io::{self, Read, Write};
use std::path::Path;

use sha1::Sha1;
use sha1::digest::Digest;

use super::deflate::{END, stored};
use crate::archive::{Archive, Protection, Settings};
use crate::error::Error;
use crate::openpgp::{COMPRESSED_HEAD, LITERAL_HEAD, Sealer, SessionKey};
use crate::spool::Spool;

/// Head of a gzip file: no name, no time, written on Unix.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Bytes behind the deflate stream in a gzip file: checksum and size.
const GZIP_TAIL: u64 = 8;

/// A stretch of a file, compressed unless the encoder wants it plain.
pub(crate) struct Piece {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// Checksum of the plain bytes.
    pub(crate) checksum: crc32fast::Hasher,
    /// How many plain bytes they are.
    pub(crate) plain_size: usize,
}

/// A finished file, ready to be stored.
pub(crate) struct Encoded {
    /// Its bytes.
    pub(crate) spool: Spool,
    /// SHA-1 of them.
    pub(crate) hash: [u8; 20],
}

/// Puts the pieces of one file together.
pub(crate) struct Encoder {
    spool: Spool,
    hash: Sha1,
    form: Form,
    /// Ciphertext on its way.
    out: Vec<u8>,
}

enum Form {
    /// As it is.
    Plain,
    Gzip {
        checksum: crc32fast::Hasher,
        size: u32,
    },
    Sealed(Box<Sealer>),
    /// Plain, for gpg to compress and encrypt at the end.
    Program(Box<crate::openpgp::program::Gpg>, bool),
}

impl Encoder {
    pub(crate) fn new(archive: &Archive) -> Result<Self, Error> {
        let settings = &archive.settings;
        let mut encoder = Self {
            spool: Spool::new(&settings.scratch),
            hash: Sha1::new(),
            form: Form::Gzip {
                checksum: crc32fast::Hasher::new(),
                size: 0,
            },
            out: Vec::new(),
        };
        match &settings.protection {
            Protection::None if settings.compress => encoder.out.extend_from_slice(&GZIP_HEAD),
            Protection::None => encoder.form = Form::Plain,
            Protection::Passphrase(passphrase) => {
                let key = archive.key(passphrase);
                encoder.form =
                    Form::Sealed(Box::new(begin_sealed(&key, settings, &mut encoder.out)));
            }
            Protection::Gpg(gpg) => {
                encoder.form = Form::Program(gpg.clone(), settings.compress);
            }
        }
        encoder.write_out()?;
        Ok(encoder)
    }

    /// A gzip file whatever the protection: for the archive directory.
    pub(crate) fn gzip(scratch: &Path) -> Result<Self, Error> {
        let mut encoder = Self {
            spool: Spool::new(scratch),
            hash: Sha1::new(),
            form: Form::Gzip {
                checksum: crc32fast::Hasher::new(),
                size: 0,
            },
            out: GZIP_HEAD.to_vec(),
        };
        encoder.write_out()?;
        Ok(encoder)
    }

    pub(crate) fn push(&mut self, piece: Piece) -> Result<(), Error> {
        match &mut self.form {
            Form::Gzip { checksum, size } => {
                checksum.combine(&piece.checksum);
                // Modulo 2³², as the format has it.
                *size = size.wrapping_add(u32::try_from(piece.plain_size).unwrap_or(0));
                self.out.extend_from_slice(&piece.bytes);
            }
            Form::Sealed(sealer) => sealer.push(&piece.bytes, &mut self.out),
            Form::Plain | Form::Program(..) => self.out.extend_from_slice(&piece.bytes),
        }
        self.write_out()
    }

    pub(crate) fn finish(mut self) -> Result<Encoded, Error> {
        match self.form {
            Form::Plain => {}
            Form::Gzip { checksum, size } => {
                self.out.extend_from_slice(&END);
                self.out
                    .extend_from_slice(&checksum.finalize().to_le_bytes());
                self.out.extend_from_slice(&size.to_le_bytes());
            }
            Form::Sealed(mut sealer) => {
                sealer.push(&END, &mut self.out);
                sealer.finish(&mut self.out);
            }
            Form::Program(gpg, compress) => {
                let folder = self.spool.folder().to_owned();
                let mut sealed = Hashed {
                    spool: Spool::new(&folder),
                    hash: Sha1::new(),
                };
                let plain = self
                    .spool
                    .into_reader()
                    .map_err(Error::io("read a temporary file"))?;
                gpg.seal(plain, &mut sealed, compress)
                    .map_err(|source| Error::Gpg {
                        object: "a new volume".to_owned(),
                        source,
                    })?;
                return Ok(Encoded {
                    spool: sealed.spool,
                    hash: sealed.hash.finalize().into(),
                });
            }
        }
        self.form = Form::Gzip {
            checksum: crc32fast::Hasher::new(),
            size: 0,
        };
        self.write_out()?;
        Ok(Encoded {
            spool: self.spool,
            hash: self.hash.finalize().into(),
        })
    }

    /// Bytes that the file has so far.
    pub(crate) fn size(&self) -> u64 {
        self.spool.size()
    }

    fn write_out(&mut self) -> Result<(), Error> {
        self.hash.update(&self.out);
        self.spool
            .write_all(&self.out)
            .map_err(Error::io("write a temporary file"))?;
        self.out.clear();
        Ok(())
    }
}

struct Hashed {
    spool: Spool,
    hash: Sha1,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.spool.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn begin_sealed(key: &SessionKey, settings: &Settings, out: &mut Vec<u8>) -> Sealer {
    let mut sealer = Sealer::new(key, &settings.random, out);
    sealer.push(&COMPRESSED_HEAD, out);
    sealer.push(&stored(&LITERAL_HEAD), out);
    sealer
}

/// Encrypts plain bytes that are few: a manifest.
pub(crate) fn seal_plain(plain: &[u8], archive: &Archive) -> Result<Encoded, Error> {
    let mut encoder = Encoder::new(archive)?;
    let bytes = match encoder.form {
        Form::Plain | Form::Program(..) => plain.to_vec(),
        _ => super::deflate::Deflater::new().piece(plain),
    };
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(plain);
    encoder.push(Piece {
        bytes,
        checksum,
        plain_size: plain.len(),
    })?;
    encoder.finish()
}

/// Turns a gzip file into what the protection asks for, without compressing it again; `None` when
/// it is that.
pub(crate) fn seal_deflated(gzip: &Spool, archive: &Archive) -> Result<Option<Encoded>, Error> {
    let settings = &archive.settings;
    let key = match &settings.protection {
        Protection::None if settings.compress => return Ok(None),
        Protection::None => {
            let mut plain = Hashed {
                spool: Spool::new(&settings.scratch),
                hash: Sha1::new(),
            };
            let whole =
                store::Content::open(gzip, 0).map_err(Error::io("read a temporary file"))?;
            io::copy(&mut flate2::read::GzDecoder::new(whole), &mut plain)
                .map_err(Error::io("write a temporary file"))?;
            return Ok(Some(Encoded {
                spool: plain.spool,
                hash: plain.hash.finalize().into(),
            }));
        }
        Protection::Passphrase(passphrase) => archive.key(passphrase),
        Protection::Gpg(gpg) => {
            let mut sealed = Hashed {
                spool: Spool::new(&settings.scratch),
                hash: Sha1::new(),
            };
            let whole =
                store::Content::open(gzip, 0).map_err(Error::io("read a temporary file"))?;
            let plain = flate2::read::GzDecoder::new(whole);
            gpg.seal(plain, &mut sealed, settings.compress)
                .map_err(|source| Error::Gpg {
                    object: "the signatures".to_owned(),
                    source,
                })?;
            return Ok(Some(Encoded {
                spool: sealed.spool,
                hash: sealed.hash.finalize().into(),
            }));
        }
    };
    let mut out = Vec::new();
    let mut sealed = Hashed {
        spool: Spool::new(&settings.scratch),
        hash: Sha1::new(),
    };
    let mut sealer = begin_sealed(&key, settings, &mut out);
    let start = GZIP_HEAD.len() as u64;
    let length = gzip.size().saturating_sub(start + GZIP_TAIL);
    let mut deflated = store::Content::open(gzip, start)
        .map_err(Error::io("read a temporary file"))?
        .take(length);
    let mut buffer = vec![0; 64 << 10];
    loop {
        sealed
            .write_all(&out)
            .map_err(Error::io("write a temporary file"))?;
        out.clear();
        let count = deflated
            .read(&mut buffer)
            .map_err(Error::io("read a temporary file"))?;
        if count == 0 {
            break;
        }
        sealer.push(buffer.get(..count).unwrap_or_default(), &mut out);
    }
    sealer.finish(&mut out);
    sealed
        .write_all(&out)
        .map_err(Error::io("write a temporary file"))?;
    Ok(Some(Encoded {
        spool: sealed.spool,
        hash: sealed.hash.finalize().into(),
    }))
}
