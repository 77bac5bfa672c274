//! Named sets of rules for what people rarely want in a backup.
//!
//! A preset must not cost anybody a file that cannot be had again. So a folder with an everyday
//! name, such as `build` or `target`, is left out only where something beside it shows what makes
//! it, and of containers only what comes from a registry: volumes hold people's data.

use std::fmt;

use super::pattern::Pattern;
use super::rules::{Condition, Rule, RuleAction};

/// A named set of rules for what people rarely want in a backup.
///
/// Rules that stand before a preset's may keep what it would leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Preset {
    /// What programs make again when they miss it: `~/.cache` and its like, thumbnails, caches of
    /// interpreters and package managers, `/var/cache`, `/tmp`, `/var/tmp`.
    Caches,
    /// What was thrown away already: the trash of desktops, also on removable disks, and of other
    /// systems.
    Trash,
    /// What compilers and package managers make from sources: `node_modules`, `target`, `build`,
    /// virtual environments.
    BuildFolders,
    /// Disks and boxes of virtual machines: huge, and changing while they are read.
    VirtualMachines,
    /// Images and layers of containers, which are fetched again. Volumes stay in.
    Containers,
    /// What browsers, and programs made of browsers, keep of pages: not bookmarks, not passwords.
    BrowserCaches,
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

    /// The preset of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// What it leaves out, as rules.
    pub fn rules(self) -> impl Iterator<Item = Rule> {
        // A test compiles them all.
        self.table().iter().filter_map(move |&(text, condition)| {
            Some(Rule {
                action: RuleAction::Exclude,
                pattern: Pattern::new(text).ok()?,
                preset: Some(self),
                condition,
            })
        })
    }

    fn table(self) -> &'static [Line] {
        match self {
            Self::Caches => CACHES,
            Self::Trash => TRASH,
            Self::BuildFolders => BUILD_FOLDERS,
            Self::VirtualMachines => VIRTUAL_MACHINES,
            Self::Containers => CONTAINERS,
            Self::BrowserCaches => BROWSER_CACHES,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A pattern, and what else must be so.
type Line = (&'static str, Option<Condition>);

const fn always(pattern: &'static str) -> Line {
    (pattern, None)
}

const fn beside(pattern: &'static str, names: &'static [&'static str]) -> Line {
    (pattern, Some(Condition::Beside(names)))
}

const fn holding(pattern: &'static str, name: &'static str) -> Line {
    (pattern, Some(Condition::Holds(name)))
}

const CACHES: &[Line] = &[
    always(".cache"),
    always(".thumbnails"),
    always("/var/cache"),
    always("/var/tmp"),
    always("/tmp"),
    always(".var/app/*/cache"),
    always("__pycache__"),
    always(".mypy_cache"),
    always(".pytest_cache"),
    always(".ruff_cache"),
    always(".ccache"),
    always(".sccache"),
    always(".npm/_cacache"),
    always(".npm/_npx"),
    always(".yarn/cache"),
    always(".bun/install/cache"),
    always(".cargo/registry"),
    always(".cargo/git"),
    always(".gradle/caches"),
    always(".ivy2/cache"),
    always("go/pkg/mod/cache"),
    always(".nv/ComputeCache"),
    always("Library/Caches"),
];

const TRASH: &[Line] = &[
    always(".local/share/Trash"),
    always(".Trash"),
    always(".Trashes"),
    always(".Trash-*"),
    always("$RECYCLE.BIN"),
    always("RECYCLER"),
];

const BUILD_FOLDERS: &[Line] = &[
    always("node_modules"),
    beside("bower_components", &["bower.json"]),
    beside("target", &["Cargo.toml", "pom.xml", "build.sbt"]),
    beside(
        "build",
        &[
            "build.gradle",
            "build.gradle.kts",
            "CMakeLists.txt",
            "meson.build",
            "setup.py",
            "pyproject.toml",
            "pubspec.yaml",
        ],
    ),
    beside("cmake-build-*", &["CMakeLists.txt"]),
    beside(
        ".gradle",
        &[
            "build.gradle",
            "build.gradle.kts",
            "settings.gradle",
            "settings.gradle.kts",
        ],
    ),
    beside("dist", &["package.json", "setup.py", "pyproject.toml"]),
    beside(".next", &["package.json"]),
    beside(".nuxt", &["package.json"]),
    beside(".svelte-kit", &["package.json"]),
    beside(".turbo", &["package.json"]),
    beside(".parcel-cache", &["package.json"]),
    beside("*.egg-info", &["setup.py", "setup.cfg", "pyproject.toml"]),
    beside(".tox", &["tox.ini", "setup.cfg", "pyproject.toml"]),
    beside(".nox", &["noxfile.py"]),
    beside("_build", &["mix.exs", "dune-project", "rebar.config"]),
    beside("deps", &["mix.exs"]),
    beside(".build", &["Package.swift"]),
    beside("Pods", &["Podfile"]),
    beside("elm-stuff", &["elm.json"]),
    beside(".dart_tool", &["pubspec.yaml"]),
    beside(".stack-work", &["stack.yaml"]),
    beside("dist-newstyle", &["cabal.project", "package.yaml"]),
    beside(".zig-cache", &["build.zig"]),
    beside("zig-cache", &["build.zig"]),
    beside("zig-out", &["build.zig"]),
    holding("venv", "pyvenv.cfg"),
    holding(".venv", "pyvenv.cfg"),
    holding("env", "pyvenv.cfg"),
    always("__pycache__"),
];

const VIRTUAL_MACHINES: &[Line] = &[
    always("/var/lib/libvirt/images"),
    always(".local/share/libvirt/images"),
    always(".local/share/gnome-boxes/images"),
    always("VirtualBox VMs"),
    always(".vagrant.d/boxes"),
    always(".android/avd"),
    always(".minikube/machines"),
    always(".lima"),
    always(".colima"),
    always("*.vdi"),
    always("*.vmdk"),
    always("*.vhd"),
    always("*.vhdx"),
    always("*.hdd"),
    always("*.qcow2"),
    always("*.vmem"),
    always("*.vmsn"),
];

const CONTAINERS: &[Line] = &[
    always("/var/lib/docker/overlay2"),
    always("/var/lib/docker/aufs"),
    always("/var/lib/docker/btrfs"),
    always("/var/lib/docker/devicemapper"),
    always("/var/lib/docker/vfs"),
    always("/var/lib/docker/zfs"),
    always("/var/lib/docker/image"),
    always("/var/lib/docker/buildkit"),
    always("/var/lib/docker/containerd"),
    always("/var/lib/docker/tmp"),
    always(".local/share/docker/overlay2"),
    always(".local/share/docker/fuse-overlayfs"),
    always(".local/share/docker/vfs"),
    always(".local/share/docker/image"),
    always(".local/share/docker/buildkit"),
    always(".local/share/docker/containerd"),
    always(".local/share/docker/tmp"),
    always("/var/lib/containerd/io.containerd.content.*"),
    always("/var/lib/containerd/io.containerd.snapshotter.*"),
    always("/var/lib/rancher/k3s/agent/containerd"),
    always("containers/storage/overlay"),
    always("containers/storage/overlay-images"),
    always("containers/storage/overlay-layers"),
    always("containers/storage/vfs"),
    always("containers/storage/vfs-images"),
    always("containers/storage/vfs-layers"),
    always("containers/cache"),
];

const BROWSER_CACHES: &[Line] = &[
    always(".mozilla/firefox/*/cache2"),
    always(".mozilla/firefox/*/startupCache"),
    always(".mozilla/firefox/*/shader-cache"),
    always(".mozilla/firefox/*/OfflineCache"),
    always(".mozilla/firefox/*/storage/default/*/cache"),
    always(".thunderbird/*/startupCache"),
    always(
        "re:(?:^|/)\\.config/(?:[^/]+/){1,4}(?:Cache|Code Cache|GPUCache|ShaderCache|GrShaderCache|GraphiteDawnCache|DawnCache|DawnGraphiteCache|DawnWebGPUCache|Media Cache|Application Cache|Service Worker/CacheStorage|Service Worker/ScriptCache)(?:/|$)",
    ),
    always(".config/*/Crashpad/completed"),
    always(".cache/mozilla"),
    always(".cache/google-chrome"),
    always(".cache/chromium"),
    always(".cache/BraveSoftware"),
    always(".cache/microsoft-edge"),
    always(".cache/vivaldi"),
    always(".cache/opera"),
    always(".cache/epiphany"),
];

#[cfg(test)]
mod tests {
    use super::super::rules::{FolderName, Rules};
    use super::*;

    use std::ffi::CString;
    use std::fs;
    use std::os::fd::AsFd as _;

    #[test]
    fn every_line_of_every_preset_is_a_rule() {
        for preset in Preset::ALL {
            assert_eq!(preset.rules().count(), preset.table().len(), "{preset}");
            assert_eq!(Preset::named(preset.name()), Some(preset));
        }
    }

    #[test]
    fn presets_leave_out_what_they_promise_and_nothing_beside_it() {
        for (preset, path, innocent) in [
            (Preset::Caches, "home/ada/.cache/x", "home/ada/cache"),
            (Preset::Caches, "tmp/x", "home/ada/tmp/x"),
            (Preset::Trash, "media/usb/.Trash-1000", "home/ada/trash.txt"),
            (Preset::VirtualMachines, "home/ada/x.vdi", "home/ada/vdi"),
            (
                Preset::Containers,
                "var/lib/docker/overlay2/a",
                "var/lib/docker/volumes/a",
            ),
            (
                Preset::Containers,
                "home/ada/.local/share/containers/storage/overlay/x",
                "home/ada/.local/share/containers/storage/volumes/x",
            ),
            (
                Preset::BrowserCaches,
                "home/ada/.mozilla/firefox/p/cache2/e",
                "home/ada/.mozilla/firefox/p/places.sqlite",
            ),
            (
                Preset::BrowserCaches,
                "home/ada/.config/google-chrome/Default/Service Worker/CacheStorage/x",
                "home/ada/.config/google-chrome/Default/Bookmarks",
            ),
            (
                Preset::BrowserCaches,
                "a/.config/Slack/Code Cache",
                "a/.config/Slack/storage",
            ),
        ] {
            let mut rules = Rules::default();
            rules.add_preset(preset);
            assert!(
                !rules.keep(rules.decide(path.as_bytes(), None, None)),
                "{path}"
            );
            assert!(
                rules.keep(rules.decide(innocent.as_bytes(), None, None)),
                "{innocent}"
            );
        }
    }

    #[test]
    fn an_everyday_name_is_left_out_only_where_something_shows_what_makes_it() {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["rust/target", "photos/target", "python/venv", "stage/venv"] {
            fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        fs::write(scratch.path().join("rust/Cargo.toml"), "").unwrap();
        fs::write(scratch.path().join("python/venv/pyvenv.cfg"), "").unwrap();
        let mut rules = Rules::default();
        rules.add_preset(Preset::BuildFolders);
        for (parent, name, stays) in [
            ("rust", "target", false),
            ("photos", "target", true),
            ("python", "venv", false),
            ("stage", "venv", true),
        ] {
            let handle = fs::File::open(scratch.path().join(parent)).unwrap();
            let path = format!("{parent}/{name}");
            let name = CString::new(name).unwrap();
            let folder = FolderName {
                parent: handle.as_fd(),
                name: &name,
            };
            let decisive = rules.decide(path.as_bytes(), None, Some(folder));
            assert_eq!(rules.keep(decisive), stays, "{path}");
        }
        // A file of that name is a file.
        assert!(rules.keep(rules.decide(b"rust/target", None, None)));
    }
}
