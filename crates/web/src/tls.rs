//! TLS of our own: with a certificate that is given, or one of our own making.
//!
//! One of our own making is kept beside the page's state, so that a browser that was told to trust it
//! meets the same one the next time. It is made anew when the names change or its end is near. The key
//! is written first and the record last: files that do not fit together are made anew, too.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Machine;
use jiff::{Span, Timestamp};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Days for which a certificate of our own making is good: browsers take no longer ones.
const LIFE_DAYS: i64 = 800;

/// So many days before its end it is made anew.
const RENEW_DAYS: i64 = 60;

/// What is needed to speak TLS.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    fingerprint: String,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file cannot be read as what it should be.
    #[error("{} holds no {what} in PEM", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why it does not.
        source: pem::Error,
    },
    /// Everybody on this machine can read the key.
    #[error("others can read the key {0}: take that right away with `chmod o= {0}`")]
    Open(String),
    /// They do not belong together, or are of no kind that is known.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Make(#[source] rcgen::Error),
    /// Where it is kept cannot be written.
    #[error("the certificate cannot be kept")]
    Keep(#[source] io::Error),
}

/// What a certificate of our own making is for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    names: Vec<String>,
    until: Timestamp,
}

impl Tls {
    /// Takes a certificate, with those between it and its authority behind it, and its key.
    ///
    /// # Errors
    ///
    /// When a file is not what it should be, or others can read the key.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, BadTls> {
        if fs::metadata(key).is_ok_and(|found| found.mode() & 0o007 != 0) {
            return Err(BadTls::Open(key.display().to_string()));
        }
        Self::read(certificate, key)
    }

    fn read(certificate: &Path, key: &Path) -> Result<Self, BadTls> {
        let wrong = |path: &Path, what| {
            let path = path.to_owned();
            move |source| BadTls::File { path, what, source }
        };
        let of_certificate = || wrong(certificate, "certificate");
        let chain = CertificateDer::pem_file_iter(certificate).map_err(of_certificate())?;
        let chain = chain.collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(of_certificate())?;
        let leaf = chain.first().ok_or(pem::Error::NoItemsFound);
        let leaf = leaf.map_err(of_certificate())?;
        let mut fingerprint = String::new();
        for byte in Sha256::digest(leaf) {
            let colon = if fingerprint.is_empty() { "" } else { ":" };
            let _ = write!(fingerprint, "{colon}{byte:02X}");
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(wrong(key, "private key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(BadTls::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(BadTls::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            fingerprint,
        })
    }

    /// Takes the certificate of our own making for these names, which are also addresses; makes one
    /// where there is none that is good for them.
    ///
    /// # Errors
    ///
    /// When none can be made or kept.
    pub fn self_made(names: &[String], machine: &Machine) -> Result<Self, BadTls> {
        let folder = machine.places.state.join("page").join("tls");
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let record = folder.join("made.json");
        let now = machine.now();
        let made = fs::read(&record).unwrap_or_default();
        let is_good = serde_json::from_slice::<Made>(&made).is_ok_and(|made| {
            let renewed = made.until.duration_since(now.timestamp()).as_hours() / 24;
            made.names == names && renewed > RENEW_DAYS
        });
        if is_good && let Ok(tls) = Self::read(&certificate, &key) {
            return Ok(tls);
        }
        let first = names.first().map_or("localhost", String::as_str);
        let mut wanted = CertificateParams::new(names).map_err(BadTls::Make)?;
        wanted
            .distinguished_name
            .push(DnType::CommonName, format!("Ravelin on {first}"));
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let until = now.saturating_add(Span::new().days(LIFE_DAYS));
        let day = |at: &jiff::ZonedDateTime| {
            let month = u8::try_from(at.month()).unwrap_or(1);
            let day = u8::try_from(at.day()).unwrap_or(1);
            date_time_ymd(at.year().into(), month, day)
        };
        // Clocks of other machines may be behind.
        wanted.not_before = day(&now.saturating_sub(Span::new().days(1)));
        wanted.not_after = day(&until);
        let pair = KeyPair::generate().map_err(BadTls::Make)?;
        let signed = wanted.self_signed(&pair).map_err(BadTls::Make)?;
        let made = Made {
            names: names.to_vec(),
            until: until.timestamp(),
        };
        let made = serde_json::to_vec(&made).map_err(io::Error::other);
        let keep = |path: &Path, bytes: &[u8]| engine::replace_private_file(path, bytes);
        engine::create_private_folder(&folder)
            .and_then(|()| keep(&key, pair.serialize_pem().as_bytes()))
            .and_then(|()| keep(&certificate, signed.pem().as_bytes()))
            .and_then(|()| keep(&record, &made?))
            .map_err(BadTls::Keep)?;
        Self::read(&certificate, &key)
    }

    /// What a person compares with what their browser shows: the SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
