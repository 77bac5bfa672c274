//! The documents of this project as a small static site: plain Markdown in, plain HTML out.
//!
//! ```no_run
//! let site = ravelin_site::Site::read(std::path::Path::new("."))?;
//! assert_eq!(site.faults(), []);
//! site.write(std::path::Path::new("target/site"))?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Every page stands where its Markdown stands, `README.md` as `index.html`. A page needs nothing but
//! itself: no script, no font and no picture from elsewhere, so that it can be read from a disk, on
//! the day when nothing else works. A link that leads nowhere is a [`Fault`].

mod anchor;
mod layout;
mod page;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use page::Page;

/// Pages that stand beside the folder of documents.
const AT_THE_TOP: [&str; 4] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
];

/// All pages and the files that they lead to.
#[derive(Debug)]
pub struct Site {
    root: PathBuf,
    /// By their names in the project, with slashes.
    pages: BTreeMap<String, Page>,
}

/// A link that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The page with the link.
    pub page: String,
    /// The link as it stands there.
    pub target: String,
    /// What is missing.
    pub why: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.page, self.target, self.why)
    }
}

impl Site {
    /// Reads the documents of the project in `root`.
    ///
    /// # Errors
    ///
    /// What the file system says about a page that cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut names: Vec<String> = AT_THE_TOP.map(str::to_owned).to_vec();
        find(root, "docs", &mut names)?;
        let mut pages = BTreeMap::new();
        for name in names {
            let text = fs::read_to_string(root.join(&name))?;
            pages.insert(name.clone(), Page::new(name, text));
        }
        Ok(Self {
            root: root.to_owned(),
            pages,
        })
    }

    /// The pages, by name.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        self.pages.values()
    }

    /// The links that lead nowhere: to no page, no heading, no file of the project.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for page in self.pages.values() {
            for target in page.links() {
                if let Err(why) = self.resolve(page, &target) {
                    let page = page.name().to_owned();
                    faults.push(Fault { page, target, why });
                }
            }
        }
        faults
    }

    /// Writes the site into a folder, which is made if there is none.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for page in self.pages.values() {
            let mut files = Vec::new();
            let html = layout::document(self, page, &mut |target| {
                let Ok(resolved) = self.resolve(page, target) else {
                    return target.to_owned();
                };
                if let Resolved::File(name) = &resolved {
                    files.push(name.clone());
                }
                resolved.address(page)
            });
            write(&folder.join(page.output()), html.as_bytes())?;
            for name in files {
                write(&folder.join(&name), &fs::read(self.root.join(&name))?)?;
            }
        }
        Ok(())
    }

    /// Where a link of a page leads.
    fn resolve(&self, page: &Page, target: &str) -> Result<Resolved, &'static str> {
        if target.starts_with("https://") || target.starts_with("http://") {
            return Ok(Resolved::Elsewhere(target.to_owned()));
        }
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (target, None),
        };
        let name = if path.is_empty() {
            page.name().to_owned()
        } else {
            page::joined(page.name(), path).ok_or("leads out of the project")?
        };
        if let Some(found) = self.pages.get(&name) {
            if anchor.is_some_and(|anchor| !found.has_anchor(anchor)) {
                return Err("there is no such heading");
            }
            let output = found.output();
            return Ok(Resolved::Page(output, anchor.map(str::to_owned)));
        }
        if anchor.is_none() && self.root.join(&name).is_file() {
            return Ok(Resolved::File(name));
        }
        Err("there is no such page or file")
    }
}

/// Where a link leads.
enum Resolved {
    /// To a page of the site, perhaps to a heading of it.
    Page(String, Option<String>),
    /// To a file of the project, which goes with the site.
    File(String),
    /// Into the world.
    Elsewhere(String),
}

impl Resolved {
    /// The address as it stands in a page.
    fn address(&self, page: &Page) -> String {
        match self {
            Self::Elsewhere(address) => address.clone(),
            Self::File(name) => page::relative(&page.output(), name),
            Self::Page(output, anchor) => {
                let address = page::relative(&page.output(), output);
                match anchor {
                    Some(anchor) => format!("{address}#{anchor}"),
                    None => address,
                }
            }
        }
    }
}

/// Finds the pages below a folder.
fn find(root: &Path, folder: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{folder}/{name}");
        if entry.file_type()?.is_dir() {
            find(root, &name, names)?;
        } else if name.ends_with(".md") {
            names.push(name);
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content)
}
