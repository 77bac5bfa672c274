//! Which paths are left out: an ordered list of rules, of which the first that matches decides.

use std::fmt;

use super::pattern::{BadPattern, Pattern};

/// An ordered list of rules. What no rule is about stays in.
///
/// A folder that is left out is not entered: a later rule cannot bring back what is in it, an
/// earlier one for the folder can.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

/// What is to happen with the paths that a pattern is about.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which paths.
    pub pattern: Pattern,
    /// Whether they stay in.
    pub include: bool,
    /// The named set that it belongs to.
    pub preset: Option<Preset>,
}

/// A named set of rules for what people rarely want in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// What programs can make again: `~/.cache` and its like.
    Caches,
    /// What was thrown away already.
    Trash,
    /// What compilers and package managers make from sources.
    BuildFolders,
    /// Disks of virtual machines: huge, and changing while they are read.
    VirtualMachines,
    /// Images and layers of containers, which are fetched again.
    Containers,
    /// What browsers and programs made of browsers keep of pages.
    BrowserCaches,
}

impl Rules {
    /// Adds a rule behind those that are there: `- PATTERN` or `PATTERN` leaves out, `+ PATTERN`
    /// keeps.
    ///
    /// # Errors
    ///
    /// [`BadPattern`] says why the pattern is none.
    pub fn add(&mut self, text: &str) -> Result<(), BadPattern> {
        let (include, pattern) = match text.split_once(' ') {
            Some(("+", pattern)) => (true, pattern.trim_start()),
            Some(("-", pattern)) => (false, pattern.trim_start()),
            _ => (false, text),
        };
        self.0.push(Rule {
            pattern: Pattern::new(pattern)?,
            include,
            preset: None,
        });
        Ok(())
    }

    /// Adds the rules of a preset behind those that are there.
    pub fn add_preset(&mut self, preset: Preset) {
        let rules = preset.patterns().iter().filter_map(|pattern| {
            // A test compiles them all.
            Some(Rule {
                pattern: Pattern::new(pattern).ok()?,
                include: false,
                preset: Some(preset),
            })
        });
        self.0.extend(rules);
    }

    /// The first rule that is about the path.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.pattern.matches(path))
    }
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Caches,
        Self::Trash,
        Self::BuildFolders,
        Self::VirtualMachines,
        Self::Containers,
        Self::BrowserCaches,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Caches => "caches",
            Self::Trash => "trash",
            Self::BuildFolders => "build-folders",
            Self::VirtualMachines => "virtual-machines",
            Self::Containers => "containers",
            Self::BrowserCaches => "browser-caches",
        }
    }

    /// The patterns of what it leaves out.
    #[must_use]
    pub fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::Caches => &[
                ".cache",
                ".thumbnails",
                "/var/cache",
                "/var/tmp",
                "/tmp",
                ".var/app/*/cache",
                "snap/*/*/.cache",
            ],
            Self::Trash => &[
                ".local/share/Trash",
                ".Trash",
                ".Trash-*",
                ".trash",
                "$RECYCLE.BIN",
                "lost+found",
            ],
            Self::BuildFolders => &[
                "node_modules",
                "__pycache__",
                "*.pyc",
                ".tox",
                ".venv",
                ".cargo/registry",
                ".cargo/git",
                ".gradle/caches",
                ".m2/repository",
                ".npm/_cacache",
                ".mypy_cache",
                ".pytest_cache",
            ],
            Self::VirtualMachines => &[
                "/var/lib/libvirt/images",
                ".local/share/libvirt/images",
                ".local/share/gnome-boxes/images",
                "VirtualBox VMs",
                "*.vdi",
                "*.vmdk",
                "*.qcow2",
            ],
            Self::Containers => &[
                "/var/lib/docker",
                "/var/lib/containers",
                "/var/lib/containerd",
                "/var/lib/lxc",
                "/var/lib/lxd",
                ".local/share/containers",
                ".local/share/docker",
            ],
            Self::BrowserCaches => &[
                ".mozilla/firefox/*/cache2",
                ".mozilla/firefox/*/startupCache",
                ".config/*/Cache",
                ".config/*/*/Cache",
                ".config/*/Code Cache",
                ".config/*/*/Code Cache",
                ".config/*/GPUCache",
                ".config/*/*/GPUCache",
                ".config/*/Service Worker/CacheStorage",
                ".config/*/*/Service Worker/CacheStorage",
            ],
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As it was written, with its sign.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.include { '+' } else { '-' };
        write!(f, "{sign} {}", self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(rules: &[&str], path: &str) -> bool {
        let mut list = Rules::default();
        for rule in rules {
            list.add(rule).unwrap();
        }
        list.find(path.as_bytes()).is_some_and(|rule| !rule.include)
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = ["+ *.keep", "*.o", "- *.keep"];
        assert!(excluded(&rules, "a/b.o"));
        assert!(!excluded(&rules, "a/b.keep"));
        assert!(!excluded(&rules, "a/b.c"));
        assert!(excluded(&["*.o", "+ b.o"], "b.o"));
    }

    #[test]
    fn every_pattern_of_every_preset_is_one() {
        for preset in Preset::ALL {
            let mut rules = Rules::default();
            rules.add_preset(preset);
            assert_eq!(rules.0.len(), preset.patterns().len(), "{preset}");
        }
    }

    #[test]
    fn presets_leave_out_what_they_promise() {
        for (preset, path, innocent) in [
            (Preset::Caches, "home/ada/.cache/x", "home/ada/cache"),
            (Preset::Trash, "media/usb/.Trash-1000", "home/ada/trash.txt"),
            (Preset::BuildFolders, "src/a/node_modules/b", "src/node"),
            (
                Preset::VirtualMachines,
                "home/ada/VirtualBox VMs/x.vdi",
                "home/x",
            ),
            (Preset::Containers, "var/lib/docker/overlay2", "home/docker"),
            (
                Preset::BrowserCaches,
                "home/ada/.mozilla/firefox/p/cache2/e",
                "home/ada/.mozilla/firefox/p/places.sqlite",
            ),
        ] {
            let mut rules = Rules::default();
            rules.add_preset(preset);
            let rule = rules.find(path.as_bytes()).unwrap();
            assert_eq!(rule.preset, Some(preset));
            assert!(rules.find(innocent.as_bytes()).is_none(), "{innocent}");
        }
    }
}
