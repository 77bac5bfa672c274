//! TLS of our own: with a certificate that is given, or one of our own making.
//!
//! A given one is taken anew when its files change, so that whoever renews it need not know of us; where
//! the two files do not fit together, because one of them was just replaced, the last good ones stay.
//!
//! One of our own making is kept beside the page's state, so that a browser that was told to trust it
//! meets the same one the next time. It is made anew when the names change or its end is near. The key
//! is written first and the record last: files that do not fit together are made anew, too.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use engine::Machine;
use jiff::{Span, Timestamp};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::{self, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

/// Days for which a certificate of our own making is good: browsers take no longer ones.
const LIFE_DAYS: i64 = 800;

/// So many days before its end it is made anew.
const RENEW_DAYS: i64 = 60;

/// What is needed to speak TLS.
pub struct Tls {
    held: Mutex<Held>,
    /// Certificate and key, as they were given.
    given: Option<[PathBuf; 2]>,
}

/// A certificate and what it says of itself.
struct Held {
    acceptor: TlsAcceptor,
    fingerprint: String,
    names: Vec<String>,
    certificate: CertificateDer<'static>,
    /// When the files were changed.
    changed: [Option<SystemTime>; 2],
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
    /// It is over, or has not begun.
    #[error("{} is not good now ({why}): get a new certificate, or speak TLS with --tls", path.display())]
    Over {
        /// The certificate.
        path: PathBuf,
        /// From when to when it would be.
        why: String,
    },
    /// What it says of itself cannot be read.
    #[error("{} holds a certificate that cannot be understood", .0.display())]
    Strange(PathBuf),
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
    /// When a file is not what it should be, the certificate is over, or others can read the key.
    pub fn from_files(certificate: &Path, key: &Path, machine: &Machine) -> Result<Self, BadTls> {
        let held = Held::given(certificate, key, machine.now().timestamp())?;
        Ok(Self {
            held: Mutex::new(held),
            given: Some([certificate.to_owned(), key.to_owned()]),
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
        let ours = |held| Self {
            held: Mutex::new(held),
            given: None,
        };
        let is_good = serde_json::from_slice::<Made>(&made).is_ok_and(|made| {
            let left = made.until.duration_since(now.timestamp()).as_hours() / 24;
            made.names == names && left > RENEW_DAYS
        });
        if is_good && let Ok(held) = Held::read(&certificate, &key) {
            return Ok(ours(held));
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
        Held::read(&certificate, &key).map(ours)
    }

    /// What a person compares with what their browser shows: the SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.held().fingerprint.clone()
    }

    /// The names that the certificate is for, without those that stand for many; addresses are left out.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.held().names.clone()
    }

    /// What the next guest is spoken to with.
    pub(crate) fn acceptor(&self, now: Timestamp) -> TlsAcceptor {
        let mut held = self.held();
        if let Some([certificate, key]) = &self.given
            && held.changed != [changed(certificate), changed(key)]
            && let Ok(new) = Held::given(certificate, key, now)
        {
            *held = new;
        }
        held.acceptor.clone()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

impl Held {
    fn given(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, BadTls> {
        if fs::metadata(key).is_ok_and(|found| found.mode() & 0o007 != 0) {
            return Err(BadTls::Open(key.display().to_string()));
        }
        let held = Self::read(certificate, key)?;
        match is_over(&held.certificate, now) {
            Some(why) => Err(BadTls::Over {
                path: certificate.to_owned(),
                why,
            }),
            None => Ok(held),
        }
    }

    fn read(certificate: &Path, key: &Path) -> Result<Self, BadTls> {
        // Looked at first: what changes while it is read is read once more.
        let changed = [changed(certificate), changed(key)];
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
        let names = names(leaf).map_err(|_| BadTls::Strange(certificate.to_owned()))?;
        let leaf = leaf.clone();
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
            names,
            certificate: leaf,
            changed,
        })
    }
}

/// What a certificate is for: the names in it, without those that stand for many.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, webpki::Error> {
    let read = EndEntityCert::try_from(certificate)?;
    let names = read.valid_dns_names().filter(|name| !name.contains('*'));
    Ok(names.map(str::to_owned).collect())
}

/// Why a certificate is not good at a time. By whom it was signed is for browsers to judge.
fn is_over(certificate: &CertificateDer<'_>, now: Timestamp) -> Option<String> {
    let read = EndEntityCert::try_from(certificate).ok()?;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    // Without anybody to trust nothing is found good; its own time is looked at first.
    let judged = read.verify_for_usage(&[], &[], &[], at, KeyUsage::server_auth(), None, None);
    let shown = |at: UnixTime| {
        let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |at| at.to_string())
    };
    match judged.err()? {
        webpki::Error::CertExpired { not_after, .. } => {
            Some(format!("it ended at {}", shown(not_after)))
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            Some(format!("it begins at {}", shown(not_before)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a certificate that is good for some days of 2030.
    fn make(folder: &Path, names: &[&str], first: u8, last: u8) -> [PathBuf; 2] {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut wanted = CertificateParams::new(names).unwrap();
        wanted.not_before = date_time_ymd(2030, 1, first);
        wanted.not_after = date_time_ymd(2030, 1, last);
        let pair = KeyPair::generate().unwrap();
        let signed = wanted.self_signed(&pair).unwrap();
        let files = [folder.join("certificate.pem"), folder.join("key.pem")];
        fs::write(&files[0], signed.pem()).unwrap();
        engine::replace_private_file(&files[1], pair.serialize_pem().as_bytes()).unwrap();
        files
    }

    fn on(day: u8) -> Timestamp {
        format!("2030-01-{day:02}T12:00:00Z").parse().unwrap()
    }

    #[test]
    fn a_certificate_says_for_whom_and_how_long_it_is_good_and_is_refused_at_other_times() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["nas.example", "*.example", "10.0.0.7", "fd00::1"];
        let [certificate, key] = make(folder.path(), &names, 5, 9);
        let held = Held::given(&certificate, &key, on(7)).unwrap();
        assert_eq!(held.names, ["nas.example"]);
        for (day, why) in [
            (4, "it begins at 2030-01-05T00:00:00Z): get a new"),
            (9, "it ended at 2030-01-09T00:00:00Z): get a new"),
        ] {
            let refused = Held::given(&certificate, &key, on(day)).err().unwrap();
            let said = refused.to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_renewed_certificate_is_taken_when_it_is_whole_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = make(folder.path(), &["nas.example"], 5, 9);
        let held = Held::given(&certificate, &key, on(7)).unwrap();
        let tls = Tls {
            held: Mutex::new(held),
            given: Some([certificate.clone(), key.clone()]),
        };
        let first = tls.fingerprint();
        // The clock of files may be coarse: what is replaced gets another time.
        let later = |path: &Path| {
            let file = fs::File::options().append(true).open(path).unwrap();
            let at = file.metadata().unwrap().modified().unwrap();
            file.set_modified(at + std::time::Duration::from_secs(60))
                .unwrap();
        };
        let other = tempfile::tempdir().unwrap();
        let [new_certificate, new_key] = make(other.path(), &["nas.example"], 7, 20);
        fs::copy(&new_certificate, &certificate).unwrap();
        later(&certificate);
        tls.acceptor(on(8));
        assert_eq!(tls.fingerprint(), first, "the key is still the old one");
        fs::copy(&new_key, &key).unwrap();
        later(&key);
        tls.acceptor(on(8));
        assert_ne!(tls.fingerprint(), first);
        // What is no good does not take the place of what is.
        fs::write(&certificate, "nothing").unwrap();
        let second = tls.fingerprint();
        tls.acceptor(on(8));
        assert_eq!(tls.fingerprint(), second);
    }
}
