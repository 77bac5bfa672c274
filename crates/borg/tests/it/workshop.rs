//! What the tests of archives over time share: a repository, a client, backups at chosen moments.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use borg::{
    Access, Archives, Checker, Compression, Encryption, Home, Host, Intake, NewArchive,
    OpenOptions, Passphrase, RepositoryOptions, Trust,
};
use jiff::Timestamp;
use testkit::StockBorg;
use tree::{Options, Source, read_ahead};

pub(crate) const PASSPHRASE: &str = "a passphrase";

/// A repository and a client of both programs that share their caches.
pub(crate) struct Workshop {
    pub(crate) stock: StockBorg,
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) repository: PathBuf,
}

impl Workshop {
    /// With an empty repository. `None` where the stock program is missing.
    pub(crate) fn new(encryption: Encryption) -> Option<Self> {
        Self::with_options(encryption, |_| {})
    }

    pub(crate) fn with_options(
        encryption: Encryption,
        change: impl FnOnce(&mut RepositoryOptions),
    ) -> Option<Self> {
        let stock = testkit::stock_borg()?.with_passphrase(PASSPHRASE);
        let scratch = tempfile::tempdir().unwrap();
        let shop = Self {
            repository: scratch.path().join("repository"),
            stock,
            scratch,
        };
        let mut options = RepositoryOptions::new([encryption.type_byte() + 0x30; 32]);
        change(&mut options);
        Archives::create(
            &shop.repository,
            &shop.home(),
            &Host::this_machine(),
            encryption,
            &Passphrase::new(PASSPHRASE),
            &options,
            at("2026-01-01T00:00:00Z"),
        )
        .unwrap();
        Some(shop)
    }

    pub(crate) fn home(&self) -> Home {
        Home::from_environment(self.stock.base_dir(), |_| None)
    }

    pub(crate) fn open(&self) -> Archives {
        self.try_open(Access::Write).unwrap()
    }

    pub(crate) fn try_open(&self, access: Access) -> Result<Archives, borg::Error> {
        Archives::open(
            &self.repository,
            &self.home(),
            &OpenOptions::new(access, &Host::this_machine()),
            &Passphrase::new(PASSPHRASE),
            Trust::default(),
        )
    }

    pub(crate) fn checker(&self, access: Access, trust: Trust) -> Result<Checker, borg::Error> {
        Checker::open(
            &self.repository,
            &self.home(),
            &OpenOptions::new(access, &Host::this_machine()),
            &Passphrase::new(PASSPHRASE),
            trust,
        )
    }

    /// Makes an archive of a folder.
    pub(crate) fn back_up(&self, name: &str, root: &Path, time: Timestamp) {
        self.try_back_up(name, root, time).unwrap();
    }

    pub(crate) fn try_back_up(
        &self,
        name: &str,
        root: &Path,
        time: Timestamp,
    ) -> Result<(), borg::Error> {
        let new = NewArchive {
            hostname: "host".into(),
            username: "user".into(),
            cmdline: vec!["ravelin".into()],
            compression: Compression::Lz4,
            ..NewArchive::new(name, time)
        };
        let intake = Intake::begin(self.open(), new, &Host::this_machine()).unwrap();
        let source = Source {
            roots: vec![root.to_owned()],
            ..Source::default()
        };
        read_ahead(
            &source,
            Options::default(),
            |entry| intake.wants(entry),
            |step| {
                match intake.take(step) {
                    Ok(()) => ControlFlow::Continue(()),
                    // The commit says why.
                    Err(_) => ControlFlow::Break(()),
                }
            },
        )
        .unwrap();
        intake.commit().map(drop)
    }

    /// The repository, as the stock program is told.
    pub(crate) fn location(&self) -> &str {
        self.repository.to_str().unwrap()
    }

    pub(crate) fn archive(&self, name: &str) -> String {
        format!("{}::{name}", self.location())
    }

    /// Lets the stock program judge the whole repository: nothing damaged, nothing left over.
    pub(crate) fn judge(&self) {
        let output = self
            .stock
            .output(["check", "--verbose", "--verify-data", self.location()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("orphan"), "{said}");
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// So many hours after the beginning of 2026.
pub(crate) fn hour(hours: i64) -> Timestamp {
    at("2026-01-01T00:00:00Z")
        .checked_add(jiff::SignedDuration::from_hours(hours))
        .unwrap()
}
