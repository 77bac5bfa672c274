//! What every store must do, as checks that run against any of them: our own tests call it for
//! each kind, and a person runs it against their own provider.
//!
//! It works in one folder that it is given and removes what it wrote.

use std::io::Read;
use std::ops::ControlFlow;

use crate::{
    Error, ErrorKind, Folder, Name, Operation, Range, Scope, Store, WriteMode, list_all, read_all,
};

/// One rule of the contract and what became of it.
#[derive(Debug)]
pub struct Check {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// Whether it holds.
    pub outcome: Outcome,
}

/// What became of a rule.
#[derive(Debug)]
pub enum Outcome {
    /// It holds.
    Holds,
    /// The store does not claim to do this.
    NotClaimed,
    /// It does not hold, and this is what was seen.
    Broken(String),
    /// The store could not be asked.
    Failed(Error),
}

impl Check {
    /// Whether the rule holds, or need not.
    ///
    /// A rule that could not be tried to its end because the credentials forbid something is
    /// [not good](Self::is_good), but [forbidden](Self::is_forbidden).
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Holds | Outcome::NotClaimed)
    }

    /// Whether the credentials forbid what it takes to try the rule: that is no fault of the store,
    /// and a key that cannot delete is what keeps backups from ransomware.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(&self.outcome, Outcome::Failed(error)
            if error.kind == ErrorKind::Denied && error.operation == Operation::Delete)
    }
}

type Rule = fn(&Scratch<'_>) -> Result<Outcome, Error>;

/// The rule that some WebDAV servers break.
pub const URL_MARKS: &str = "of names with the marks of addresses, each is its own object";

/// The rules, in the order in which they are tried.
const RULES: &[(&str, Rule)] = &[
    (
        "what was written is read back, whole and in part",
        reads_back,
    ),
    ("an empty object is an object", empty),
    ("an object of several parts is read back", big),
    ("a missing object is told from every other failure", missing),
    ("a write replaces the whole object", replaces),
    (
        "of names with spaces, accents and marks, each is its own object",
        names,
    ),
    (URL_MARKS, url_marks),
    (
        "a listing is complete, and a folder's ends at its slash",
        lists,
    ),
    ("a listing of many objects gives each once", many),
    ("deleting is done once and may be repeated", deletes),
    (
        "a folder is no object: what is in it stays, and emptied it gives way",
        folders,
    ),
    ("creating never replaces", creates),
    ("of eight that create at once, one wins", races),
    ("renaming moves the bytes and never replaces", renames),
    ("a copy has the bytes and lives apart", copies),
    ("content that ends early is no object", ends_early),
    ("every version of an object has its own mark", versions),
];

/// Tries every rule in `folder`, which should be empty or not exist, and removes what it wrote.
///
/// The folder is left as it was found even when rules are broken, as far as the store lets it
/// delete.
pub fn run(store: &dyn Store, folder: &Folder) -> Vec<Check> {
    run_watched(store, folder, &mut |_| ControlFlow::Continue(()))
}

/// The same, telling `watch` each rule before it is tried; when that breaks, the rest is left out.
pub fn run_watched(
    store: &dyn Store,
    folder: &Folder,
    watch: &mut dyn FnMut(&'static str) -> ControlFlow<()>,
) -> Vec<Check> {
    let mut checks = Vec::with_capacity(RULES.len());
    for &(rule, check) in RULES {
        if watch(rule).is_break() {
            break;
        }
        let outcome = check(&Scratch { store, folder }).unwrap_or_else(Outcome::Failed);
        checks.push(Check { rule, outcome });
    }
    // What cannot be removed is reported by the rule on deleting.
    let _ = list_all(store, folder).map(|objects| {
        for object in objects {
            let _ = store.delete(&object.name);
        }
    });
    checks
}

struct Scratch<'a> {
    store: &'a dyn Store,
    folder: &'a Folder,
}

impl Scratch<'_> {
    fn name(&self, text: &str) -> Result<Name, Error> {
        self.folder
            .join(text)
            .map_err(|why| Error::bad_name(text, Operation::Open, why))
    }

    fn write(&self, text: &str, bytes: &[u8]) -> Result<Name, Error> {
        let name = self.name(text)?;
        self.store
            .write(&name, &bytes.to_vec(), WriteMode::Replace)?;
        Ok(name)
    }

    fn read(&self, name: &Name) -> Result<Vec<u8>, Error> {
        read_all(self.store, name, 64 << 20)
    }

    fn part(&self, name: &Name, range: Range) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut body = self.store.read(name, range)?.body;
        body.read_to_end(&mut bytes)
            .map_err(|error| Error::from_io(error, Operation::Read, name))?;
        Ok(bytes)
    }

    fn listed(&self, folder: &str, scope: Scope) -> Result<Vec<String>, Error> {
        let folder = Folder::new(format!("{}{folder}", self.folder.prefix()).trim_end_matches('/'))
            .map_err(|why| Error::bad_name(folder, Operation::List, why))?;
        let prefix = self.folder.prefix();
        let mut names = Vec::new();
        self.store.list(&folder, scope, &mut |object| {
            names.push(object.name.as_str().trim_start_matches(&prefix).to_owned());
            ControlFlow::Continue(())
        })?;
        names.sort();
        Ok(names)
    }
}

/// Stops a rule at the first thing that is not as it must be.
macro_rules! must {
    ($condition:expr, $($seen:tt)+) => {
        if !$condition {
            return Ok(Outcome::Broken(format!($($seen)+)));
        }
    };
}

fn fails_with<T>(result: Result<T, Error>, kind: ErrorKind) -> Result<bool, Error> {
    match result {
        Ok(_) => Ok(false),
        Err(error) if error.kind == kind => Ok(true),
        Err(error) if error.is_passing() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Bytes that differ at every place and do not compress.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn reads_back(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let bytes = noise(100_003, 1);
    let name = scratch.write("whole", &bytes)?;
    must!(scratch.read(&name)? == bytes, "other bytes came back");
    let object = scratch.store.stat(&name)?;
    must!(
        object.size == 100_003 && object.name == name,
        "stat gives {object:?}"
    );
    for (start, size) in [
        (0, 1),
        (1, 99),
        (65_535, 2),
        (100_000, 3),
        (100_000, 500),
        (100_003, 1),
        (200_000, 9),
    ] {
        let from = usize::try_from(start).unwrap_or(0).min(bytes.len());
        let to = (from + usize::try_from(size).unwrap_or(0)).min(bytes.len());
        let part = scratch.part(&name, Range::new(start, size))?;
        must!(
            part == bytes[from..to],
            "{size} bytes from {start} are {} other bytes",
            part.len()
        );
    }
    let rest = scratch.part(
        &name,
        Range {
            start: 99_999,
            size: None,
        },
    )?;
    must!(
        rest == bytes[99_999..],
        "the rest from 99999 is {} bytes",
        rest.len()
    );
    Ok(Outcome::Holds)
}

fn empty(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let name = scratch.write("empty", b"")?;
    must!(scratch.store.stat(&name)?.size == 0, "it has a size");
    must!(scratch.read(&name)?.is_empty(), "bytes came back");
    must!(
        scratch
            .listed("", Scope::Folder)?
            .contains(&"empty".to_owned()),
        "it is not listed"
    );
    Ok(Outcome::Holds)
}

fn big(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let bytes = noise((18 << 20) + 7, 2);
    let name = scratch.write("big", &bytes)?;
    must!(scratch.read(&name)? == bytes, "other bytes came back");
    let part = scratch.part(&name, Range::new((5 << 20) - 3, 7))?;
    must!(
        part == bytes[(5 << 20) - 3..(5 << 20) + 4],
        "a range in it gives other bytes"
    );
    scratch.store.delete(&name)?;
    Ok(Outcome::Holds)
}

fn missing(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    for text in ["missing", "missing/deeper", "empty/below-an-object"] {
        let name = scratch.name(text)?;
        must!(
            fails_with(scratch.store.stat(&name), ErrorKind::NotFound)?,
            "stat of `{text}` does not say not found"
        );
        must!(
            fails_with(scratch.store.read(&name, Range::WHOLE), ErrorKind::NotFound)?,
            "read of `{text}` does not say not found"
        );
    }
    must!(
        scratch.listed("no/such/folder", Scope::Tree)?.is_empty(),
        "an absent folder has objects"
    );
    Ok(Outcome::Holds)
}

fn replaces(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    scratch.write("replaced", &noise(50_000, 3))?;
    let name = scratch.write("replaced", b"short")?;
    must!(
        scratch.read(&name)? == b"short",
        "the old object shines through"
    );
    must!(
        scratch
            .listed("", Scope::Tree)?
            .iter()
            .filter(|name| *name == "replaced")
            .count()
            == 1,
        "it is listed twice"
    );
    Ok(Outcome::Holds)
}

fn names(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    each_its_own(
        scratch,
        &[
            "names/a b",
            "names/a+b",
            "names/a%20b",
            "names/ä ö",
            "names/日本",
            "names/'\"(1)",
            "names/~tilde",
            "names/.hidden",
            "names/a:b",
            "names/deep/er/still/x",
            "names/=@,!$*[]{}",
        ],
    )
}

fn url_marks(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    each_its_own(
        scratch,
        &["names/#1?x=y&z", "names/#1", "names/#1?x", "names/a;b"],
    )
}

fn each_its_own(scratch: &Scratch<'_>, texts: &[&str]) -> Result<Outcome, Error> {
    for (text, seed) in texts.iter().zip(10..) {
        if let Err(error) = scratch.write(text, &noise(20, seed)) {
            must!(error.kind != ErrorKind::Invalid, "it refuses `{text}`");
            return Err(error);
        }
    }
    for (text, seed) in texts.iter().zip(10..) {
        must!(
            scratch.read(&scratch.name(text)?)? == noise(20, seed),
            "`{text}` holds another's bytes"
        );
    }
    let mut expected: Vec<String> = texts.iter().map(ToString::to_string).collect();
    expected.sort();
    let listed = scratch.listed("names", Scope::Tree)?;
    must!(listed == expected, "listed are {listed:?}");
    for text in texts {
        scratch.store.delete(&scratch.name(text)?)?;
    }
    Ok(Outcome::Holds)
}

fn lists(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    for text in ["list/1/a", "list/1/b/c", "list/10/d", "list/e"] {
        scratch.write(text, text.as_bytes())?;
    }
    let check = |folder: &str, scope, expected: &[&str]| {
        scratch
            .listed(folder, scope)
            .map(|listed| (listed == expected, listed))
    };
    for (folder, scope, expected) in [
        (
            "list",
            Scope::Tree,
            ["list/1/a", "list/1/b/c", "list/10/d", "list/e"].as_slice(),
        ),
        ("list", Scope::Folder, &["list/e"]),
        ("list/1", Scope::Tree, &["list/1/a", "list/1/b/c"]),
        ("list/1", Scope::Folder, &["list/1/a"]),
    ] {
        let (good, listed) = check(folder, scope, expected)?;
        must!(good, "in `{folder}` are listed {listed:?}");
    }
    let mut seen = 0;
    scratch.store.list(scratch.folder, Scope::Tree, &mut |_| {
        seen += 1;
        ControlFlow::Break(())
    })?;
    must!(seen == 1, "after breaking off, {seen} objects were given");
    Ok(Outcome::Holds)
}

fn many(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let texts: Vec<String> = (0..40).map(|number| format!("many/{number:03}")).collect();
    crate::in_parallel(&texts, 4, |text| {
        scratch.write(text, text.as_bytes()).map(drop)
    })?;
    let listed = scratch.listed("many", Scope::Folder)?;
    must!(
        listed == texts,
        "{} of {} objects are listed",
        listed.len(),
        texts.len()
    );
    Ok(Outcome::Holds)
}

fn deletes(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let name = scratch.write("deleted", b"x")?;
    let other = scratch.write("deleted-not", b"x")?;
    scratch.store.delete(&name)?;
    must!(
        fails_with(scratch.store.stat(&name), ErrorKind::NotFound)?,
        "it is still there"
    );
    must!(
        !scratch
            .listed("", Scope::Folder)?
            .contains(&"deleted".to_owned()),
        "it is still listed"
    );
    scratch.store.delete(&name)?;
    scratch.store.stat(&other)?;
    Ok(Outcome::Holds)
}

fn folders(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let inner = scratch.write("folder/deep/inner", b"inner")?;
    let outer = scratch.name("folder")?;
    // Some servers say no. That is no harm, and no promise.
    let _ = scratch.store.delete(&outer);
    must!(
        scratch.read(&inner)? == b"inner",
        "deleting its name took what is in it"
    );
    scratch.store.delete(&inner)?;
    scratch.store.write(&outer, b"outer", WriteMode::Replace)?;
    must!(scratch.read(&outer)? == b"outer", "other bytes came back");
    scratch.store.delete(&outer)?;
    must!(
        scratch.listed("folder", Scope::Tree)?.is_empty(),
        "something is left in it"
    );
    Ok(Outcome::Holds)
}

fn creates(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let name = scratch.name("created")?;
    let first = scratch.store.write(&name, b"first", WriteMode::Create);
    if !scratch.store.capabilities().create {
        must!(
            fails_with(first, ErrorKind::Unsupported)?,
            "it does not say that it cannot"
        );
        return Ok(Outcome::NotClaimed);
    }
    first?;
    let second = scratch.store.write(&name, b"second", WriteMode::Create);
    must!(
        fails_with(second, ErrorKind::AlreadyExists)?,
        "a second creation is not refused"
    );
    must!(
        scratch.read(&name)? == b"first",
        "the second replaced the first"
    );
    Ok(Outcome::Holds)
}

fn races(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    if !scratch.store.capabilities().create {
        return Ok(Outcome::NotClaimed);
    }
    for round in 0..3 {
        let name = scratch.name(&format!("race-{round}"))?;
        let won = crate::in_parallel(0..8_u8, 8, |racer| {
            match scratch
                .store
                .write(&name, &vec![racer; 1000], WriteMode::Create)
            {
                Ok(_) => Ok(Some(racer)),
                Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        let winners: Vec<u8> = won.into_iter().flatten().collect();
        must!(winners.len() == 1, "{} of eight won", winners.len());
        must!(
            scratch.read(&name)? == vec![winners[0]; 1000],
            "the object is not the winner's"
        );
    }
    Ok(Outcome::Holds)
}

fn copies(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let from = scratch.write("copy/from 1+1", b"first")?;
    let to = scratch.name("copy/deep er/tö")?;
    let copied = scratch.store.copy(&from, &to);
    if !scratch.store.capabilities().copy {
        must!(
            fails_with(copied, ErrorKind::Unsupported)?,
            "it does not say that it cannot"
        );
        return Ok(Outcome::NotClaimed);
    }
    copied?;
    must!(scratch.read(&to)? == b"first", "other bytes came along");
    scratch.write("copy/from 1+1", b"second")?;
    must!(scratch.read(&to)? == b"first", "the copy changed, too");
    scratch.store.copy(&from, &to)?;
    must!(scratch.read(&to)? == b"second", "the copy is not replaced");
    scratch.store.delete(&from)?;
    must!(scratch.read(&to)? == b"second", "the copy went, too");
    let mut listed = scratch.listed("copy", Scope::Tree)?;
    listed.sort();
    must!(listed == ["copy/deep er/tö"], "listed are {listed:?}");
    must!(
        fails_with(scratch.store.copy(&from, &to), ErrorKind::NotFound)?,
        "a missing object is not told"
    );
    must!(scratch.read(&to)? == b"second", "a failed copy did harm");
    Ok(Outcome::Holds)
}

fn renames(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let from = scratch.write("rename/from", b"moved")?;
    let to = scratch.name("rename/deep er/tö")?;
    let moved = scratch.store.rename(&from, &to);
    if !scratch.store.capabilities().rename {
        must!(
            fails_with(moved, ErrorKind::Unsupported)?,
            "it does not say that it cannot"
        );
        return Ok(Outcome::NotClaimed);
    }
    moved?;
    must!(scratch.read(&to)? == b"moved", "other bytes came along");
    must!(
        fails_with(scratch.store.stat(&from), ErrorKind::NotFound)?,
        "the old name is still there"
    );
    let listed = scratch.listed("rename", Scope::Tree)?;
    must!(listed == ["rename/deep er/tö"], "listed are {listed:?}");
    let other = scratch.write("rename/other", b"other")?;
    must!(
        fails_with(scratch.store.rename(&to, &other), ErrorKind::AlreadyExists)?,
        "a taken name is not refused"
    );
    must!(scratch.read(&other)? == b"other", "the target was replaced");
    must!(
        fails_with(
            scratch.store.rename(&from, &scratch.name("rename/x")?),
            ErrorKind::NotFound
        )?,
        "a missing object is not told"
    );
    Ok(Outcome::Holds)
}

/// Says 1000 bytes and gives 500.
struct Short;

impl crate::Content for Short {
    fn size(&self) -> u64 {
        1000
    }

    fn open(&self, offset: u64) -> std::io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(
            std::io::repeat(7).take(500_u64.saturating_sub(offset)),
        ))
    }
}

fn ends_early(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let name = scratch.name("early")?;
    must!(
        scratch
            .store
            .write(&name, &Short, WriteMode::Replace)
            .is_err(),
        "it is accepted"
    );
    must!(
        fails_with(scratch.store.stat(&name), ErrorKind::NotFound)?,
        "a part of it is there"
    );
    Ok(Outcome::Holds)
}

fn versions(scratch: &Scratch<'_>) -> Result<Outcome, Error> {
    let name = scratch.write("version", b"one!")?;
    let first = scratch.store.stat(&name)?;
    scratch.write("version", b"two!")?;
    let second = scratch.store.stat(&name)?;
    if first.version.is_none() {
        return Ok(Outcome::NotClaimed);
    }
    must!(
        first.version != second.version,
        "both states have the mark {:?}",
        first.version
    );
    let reading = scratch.store.read(&name, Range::WHOLE)?;
    must!(
        reading.object.version == second.version,
        "reading gives {:?}, looking {:?}",
        reading.object.version,
        second.version
    );
    Ok(Outcome::Holds)
}
