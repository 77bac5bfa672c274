//! What may be typed: all commands with their options, as Borg 1.4 documents them.

use super::arguments::{Command, Count, Opt, Place, Takes};
use super::{
    benchmark, check, compact, config, create, debug, delete, diff, extract, help, info, init, key,
    list, lock, mount, profile, prune, recreate, rename, serve, tar, upgrade, version,
};

use Takes::{Each, Nothing, Once, Optional, Value};

const fn option(
    flags: &'static [&'static str],
    name: &'static str,
    takes: Takes,
    help: &'static str,
) -> Opt {
    Opt {
        flags,
        name,
        takes,
        help,
    }
}

const fn one(name: &'static str) -> Place {
    Place {
        name,
        count: Count::One,
    }
}

const fn at_most_one(name: &'static str) -> Place {
    Place {
        name,
        count: Count::AtMostOne,
    }
}

const fn any(name: &'static str) -> Place {
    Place {
        name,
        count: Count::Any,
    }
}

/// Options of all commands.
pub(crate) const COMMON: &[Opt] = &[
    option(
        &["-h", "--help"],
        "help",
        Nothing,
        "say what the command does",
    ),
    option(
        &[
            "--critical",
            "--error",
            "--warning",
            "--info",
            "-v",
            "--verbose",
            "--debug",
        ],
        "log_level",
        Nothing,
        "say this much: only what ends the program, ... , everything (default: --warning)",
    ),
    option(
        &["--debug-topic"],
        "debug_topics",
        Each("TOPIC"),
        "taken and not needed: --debug says everything",
    ),
    option(
        &["-p", "--progress"],
        "progress",
        Nothing,
        "show how far it is",
    ),
    option(
        &["--iec"],
        "iec",
        Nothing,
        "count bytes in KiB, MiB, ... rather than in kB, MB, ...",
    ),
    option(
        &["--log-json"],
        "log_json",
        Nothing,
        "write messages as lines of JSON",
    ),
    option(
        &["--lock-wait"],
        "lock_wait",
        Value("SECONDS"),
        "wait so long for a lock (default: 1)",
    ),
    option(
        &["--bypass-lock"],
        "bypass_lock",
        Nothing,
        "read without a lock; only if you know that nobody writes",
    ),
    option(
        &["--show-version"],
        "show_version",
        Nothing,
        "say the version first",
    ),
    option(
        &["--show-rc"],
        "show_rc",
        Nothing,
        "say the exit code at the end",
    ),
    option(
        &["--umask"],
        "umask",
        Value("M"),
        "create files with this umask (default: 0077)",
    ),
    option(
        &["--remote-path"],
        "remote_path",
        Value("PATH"),
        "run this on the other machine (default: borg)",
    ),
    option(
        &["--remote-ratelimit", "--upload-ratelimit"],
        "upload_ratelimit",
        Value("RATE"),
        "send at most so many KiB a second to another machine (default: 0, no limit)",
    ),
    option(
        &["--remote-buffer", "--upload-buffer"],
        "upload_buffer",
        Value("UPLOAD_BUFFER"),
        "taken and not needed",
    ),
    option(
        &["--consider-part-files"],
        "consider_part_files",
        Nothing,
        "show parts of files that a checkpoint has left, too",
    ),
    option(
        &["--debug-profile"],
        "debug_profile",
        Value("FILE"),
        "write how long the command took, as Borg's profiles have it; Python's if the name ends in .pyprof",
    ),
    option(
        &["--rsh"],
        "rsh",
        Value("RSH"),
        "reach the other machine by this program (default: ssh)",
    ),
];

const FILTERS: &[Opt] = &[
    option(
        &["-P", "--prefix"],
        "prefix",
        Once("PREFIX"),
        "archives whose names begin so (better: --glob-archives)",
    ),
    option(
        &["-a", "--glob-archives"],
        "glob_archives",
        Once("GLOB"),
        "archives whose names match: sh:, the pattern of a shell",
    ),
];

const SELECTION: &[Opt] = &[
    option(
        &["--sort-by"],
        "sort_by",
        Value("KEYS"),
        "sort by timestamp, name, id, several with commas (default: timestamp)",
    ),
    option(&["--first"], "first", Value("N"), "the first N of them"),
    option(&["--last"], "last", Value("N"), "the last N of them"),
];

const PATTERNS: &[Opt] = &[
    option(
        &["-e", "--exclude"],
        "exclude",
        Each("PATTERN"),
        "leave out what matches",
    ),
    option(
        &["--exclude-from"],
        "exclude_from",
        Each("EXCLUDEFILE"),
        "read such patterns from a file, one a line",
    ),
    option(
        &["--pattern"],
        "pattern",
        Each("PATTERN"),
        "take in (+), leave out (-) or do not look below (!) what matches",
    ),
    option(
        &["--patterns-from"],
        "patterns_from",
        Each("PATTERNFILE"),
        "read such patterns from a file, one a line",
    ),
];

const TAGS: &[Opt] = &[
    option(
        &["--exclude-caches"],
        "exclude_caches",
        Nothing,
        "leave out folders with a CACHEDIR.TAG",
    ),
    option(
        &["--exclude-if-present"],
        "exclude_if_present",
        Each("NAME"),
        "leave out folders that hold something of this name",
    ),
    option(
        &["--keep-exclude-tags"],
        "keep_exclude_tags",
        Nothing,
        "of those, keep the folder itself and what marks it",
    ),
];

const STRIP: &[Opt] = &[option(
    &["--strip-components"],
    "strip_components",
    Value("NUMBER"),
    "take so many names from the front of paths; what is shorter is left out",
)];

const DRY_RUN: &[Opt] = &[option(
    &["-n", "--dry-run"],
    "dry_run",
    Nothing,
    "change nothing",
)];

const STATS: &[Opt] = &[
    option(
        &["-s", "--stats"],
        "stats",
        Nothing,
        "print statistics at the end",
    ),
    option(
        &["--quick-stats"],
        "quick_stats",
        Nothing,
        "print statistics of this archive alone",
    ),
];

const LIST: &[Opt] = &[option(
    &["--list"],
    "list",
    Nothing,
    "print each thing as it is done",
)];

const FILTER: &[Opt] = &[option(
    &["--filter"],
    "filter",
    Once("STATUSCHARS"),
    "print only what has one of these status letters",
)];

const JSON: &[Opt] = &[option(&["--json"], "json", Nothing, "print JSON")];

const SAVE_SPACE: &[Opt] = &[option(
    &["--save-space"],
    "save_space",
    Nothing,
    "taken and not needed: no more space is used than must be",
)];

const CHECKPOINTS: &[Opt] = &[option(
    &["-c", "--checkpoint-interval"],
    "checkpoint_interval",
    Value("SECONDS"),
    "make what was done so far stand this often (default: 1800)",
)];

const NUMERIC: &[Opt] = &[option(
    &["--numeric-ids", "--numeric-owner"],
    "numeric_ids",
    Nothing,
    "go by the numbers of users and groups, not by their names",
)];

const ATTRIBUTES: &[Opt] = &[
    option(
        &["--noflags", "--nobsdflags"],
        "noflags",
        Nothing,
        "leave inode flags out",
    ),
    option(&["--noacls"], "noacls", Nothing, "leave ACLs out"),
    option(
        &["--noxattrs"],
        "noxattrs",
        Nothing,
        "leave extended attributes out",
    ),
];

const MAKE: &[Opt] = &[
    option(
        &["--timestamp"],
        "timestamp",
        Value("TIMESTAMP"),
        "say this time rather than now: yyyy-mm-ddThh:mm:ss in UTC, or a file to take it from",
    ),
    option(
        &["--chunker-params"],
        "chunker_params",
        Once("PARAMS"),
        "cut files so (default: buzhash,19,23,21,4095)",
    ),
    option(
        &["-C", "--compression"],
        "compression",
        Value("COMPRESSION"),
        "compress so (default: lz4); see `borg help compression`",
    ),
    option(
        &["--comment"],
        "comment",
        Value("COMMENT"),
        "write a comment into the archive",
    ),
];

const TAR: &[Opt] = &[option(
    &["--tar-filter"],
    "tar_filter",
    Once("FILTER"),
    "pipe the archive through this program (default: by the name of the file)",
)];

const CREATE: &[Opt] = &[
    option(
        &["--no-cache-sync"],
        "no_cache_sync",
        Nothing,
        "taken and not needed: an outdated cache is counted anew",
    ),
    option(
        &["--stdin-name"],
        "stdin_name",
        Value("NAME"),
        "name of what `-` stores",
    ),
    option(
        &["--stdin-user"],
        "stdin_user",
        Value("USER"),
        "its owner (default: root)",
    ),
    option(
        &["--stdin-group"],
        "stdin_group",
        Value("GROUP"),
        "its group (default: root)",
    ),
    option(
        &["--stdin-mode"],
        "stdin_mode",
        Value("M"),
        "its mode (default: 0660)",
    ),
    option(
        &["--content-from-command"],
        "content_from_command",
        Nothing,
        "store what the command prints that stands in the place of paths",
    ),
    option(
        &["--paths-from-stdin"],
        "paths_from_stdin",
        Nothing,
        "store exactly the paths that come from standard input",
    ),
    option(
        &["--paths-from-command"],
        "paths_from_command",
        Nothing,
        "store exactly the paths that the command prints that stands in the place of paths",
    ),
    option(
        &["--paths-delimiter"],
        "paths_delimiter",
        Value("DELIM"),
        r"what stands between those paths (default: \n)",
    ),
    option(
        &["--exclude-nodump"],
        "exclude_nodump",
        Nothing,
        "leave out what has the flag `d`",
    ),
    option(
        &["--exclude-dataless"],
        "exclude_dataless",
        Nothing,
        "taken and without a meaning on this system",
    ),
    option(
        &["-x", "--one-file-system"],
        "one_file_system",
        Nothing,
        "do not enter other file systems",
    ),
    option(
        &["--noatime"],
        "noatime",
        Nothing,
        "the default: do not store times of access",
    ),
    option(&["--atime"], "atime", Nothing, "store times of access"),
    option(
        &["--noctime"],
        "noctime",
        Nothing,
        "do not store times of change",
    ),
    option(
        &["--nobirthtime"],
        "nobirthtime",
        Nothing,
        "taken: times of birth are not stored",
    ),
    option(
        &["--sparse"],
        "sparse",
        Nothing,
        "taken and not needed: holes are never read",
    ),
    option(
        &["--files-cache"],
        "files_cache",
        Once("MODE"),
        "what tells that a file has not changed (default: ctime,size,inode)",
    ),
    option(
        &["--files-changed"],
        "files_changed",
        Once("MODE"),
        "what tells that a file changes while it is read: ctime, mtime or disabled",
    ),
    option(
        &["--read-special"],
        "read_special",
        Nothing,
        "store the content of devices and pipes as if they were files",
    ),
];

const KEEP: &[Opt] = &[
    option(&["--force"], "force", Nothing, "taken and not needed"),
    option(
        &["--keep-within"],
        "keep_within",
        Value("INTERVAL"),
        "keep everything that is younger: 12H, 7d, 2w, 3m, 1y",
    ),
    option(
        &["--keep-last", "--keep-secondly"],
        "secondly",
        Value("N"),
        "keep one a second",
    ),
    option(
        &["--keep-minutely"],
        "minutely",
        Value("N"),
        "keep one a minute",
    ),
    option(
        &["-H", "--keep-hourly"],
        "hourly",
        Value("N"),
        "keep one an hour",
    ),
    option(
        &["-d", "--keep-daily"],
        "daily",
        Value("N"),
        "keep one a day",
    ),
    option(
        &["-w", "--keep-weekly"],
        "weekly",
        Value("N"),
        "keep one a week",
    ),
    option(
        &["-m", "--keep-monthly"],
        "monthly",
        Value("N"),
        "keep one a month",
    ),
    option(
        &["--keep-13weekly"],
        "13weekly",
        Value("N"),
        "keep one a quarter of 13 weeks",
    ),
    option(
        &["--keep-3monthly"],
        "3monthly",
        Value("N"),
        "keep one a quarter of 3 months",
    ),
    option(
        &["-y", "--keep-yearly"],
        "yearly",
        Value("N"),
        "keep one a year",
    ),
];

/// All commands.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "benchmark crud",
        about: "Measures how fast archives are made, read, made again and deleted.",
        places: &[one("location"), one("path")],
        options: &[],
        run: benchmark::run,
    },
    Command {
        name: "break-lock",
        about: "Removes the locks of a repository and of its cache, whoever holds them.",
        places: &[at_most_one("location")],
        options: &[],
        run: lock::break_lock,
    },
    Command {
        name: "check",
        about: "Checks a repository and its archives, and repairs them on demand.",
        places: &[at_most_one("location")],
        options: &[
            &[
                option(
                    &["--repository-only"],
                    "repository_only",
                    Nothing,
                    "check what is below the archives only",
                ),
                option(
                    &["--archives-only"],
                    "archives_only",
                    Nothing,
                    "check the archives only",
                ),
                option(
                    &["--verify-data"],
                    "verify_data",
                    Nothing,
                    "read and verify the content of everything",
                ),
                option(&["--repair"], "repair", Nothing, "repair what is found"),
                option(
                    &["--max-duration"],
                    "max_duration",
                    Value("SECONDS"),
                    "check segments for so long, and go on there the next time",
                ),
            ],
            SAVE_SPACE,
            FILTERS,
            SELECTION,
        ],
        run: check::run,
    },
    Command {
        name: "compact",
        about: "Frees the space of what was deleted.",
        places: &[at_most_one("location")],
        options: &[
            DRY_RUN,
            &[
                option(
                    &["--cleanup-commits"],
                    "cleanup_commits",
                    Nothing,
                    "remove files that hold a commit and nothing else, too",
                ),
                option(
                    &["--threshold"],
                    "threshold",
                    Value("PERCENT"),
                    "rewrite files of which more than this can be freed (default: 10)",
                ),
            ],
        ],
        run: compact::run,
    },
    Command {
        name: "config",
        about: "Shows, sets or deletes a value in the configuration of a repository or its cache.",
        places: &[
            at_most_one("location"),
            at_most_one("name"),
            at_most_one("value"),
        ],
        options: &[&[
            option(
                &["-c", "--cache"],
                "cache",
                Nothing,
                "the configuration of the cache",
            ),
            option(&["-d", "--delete"], "delete", Nothing, "delete the value"),
            option(&["-l", "--list"], "list", Nothing, "show all values"),
        ]],
        run: config::run,
    },
    Command {
        name: "create",
        about: "Makes an archive of files.",
        places: &[one("location"), any("paths")],
        options: &[
            DRY_RUN,
            STATS,
            LIST,
            FILTER,
            JSON,
            CREATE,
            PATTERNS,
            TAGS,
            NUMERIC,
            ATTRIBUTES,
            MAKE,
            CHECKPOINTS,
        ],
        run: create::run,
    },
    Command {
        name: "debug info",
        about: "Shows what this program is built of, for reports of mistakes.",
        places: &[],
        options: &[],
        run: debug::info,
    },
    Command {
        name: "debug convert-profile",
        about: "Makes a profile for Python's programs of one of --debug-profile.",
        places: &[one("input"), one("output")],
        options: &[],
        run: profile::convert,
    },
    Command {
        name: "debug dump-archive-items",
        about: "Writes the chunks of the list of files of an archive into this folder.",
        places: &[one("location")],
        options: &[],
        run: debug::dump_archive_items,
    },
    Command {
        name: "debug dump-archive",
        about: "Writes what an archive says of itself and its files as JSON.",
        places: &[one("location"), one("path")],
        options: &[],
        run: debug::dump_archive,
    },
    Command {
        name: "debug dump-manifest",
        about: "Writes the manifest as JSON.",
        places: &[one("location"), one("path")],
        options: &[],
        run: debug::dump_manifest,
    },
    Command {
        name: "debug dump-repo-objs",
        about: "Writes all objects of a repository, decrypted, into this folder.",
        places: &[one("location")],
        options: &[&[
            option(
                &["--ghost"],
                "ghost",
                Nothing,
                "every entry of the log, also of what was deleted, as it is stored",
            ),
            option(
                &["--segment"],
                "segment",
                Value("SEG"),
                "of this segment only",
            ),
            option(
                &["--offset"],
                "offset",
                Value("OFFS"),
                "from this offset on",
            ),
        ]],
        run: debug::dump_objects,
    },
    Command {
        name: "debug search-repo-objs",
        about: "Looks for bytes in the decrypted content of all objects.",
        places: &[one("location"), one("wanted")],
        options: &[],
        run: debug::search_objects,
    },
    Command {
        name: "debug id-hash",
        about: "Shows the id that a file's content would be stored under.",
        places: &[one("location"), one("path")],
        options: &[],
        run: debug::id_hash,
    },
    Command {
        name: "debug get-obj",
        about: "Writes a stored object, as it is, into a file.",
        places: &[one("location"), one("id"), one("path")],
        options: &[],
        run: debug::get_object,
    },
    Command {
        name: "debug put-obj",
        about: "Stores the content of a file, as it is, under an id.",
        places: &[one("location"), one("id"), one("path")],
        options: &[],
        run: debug::put_object,
    },
    Command {
        name: "debug delete-obj",
        about: "Deletes stored objects.",
        places: &[
            one("location"),
            Place {
                name: "ids",
                count: Count::Some,
            },
        ],
        options: &[],
        run: debug::delete_objects,
    },
    Command {
        name: "debug refcount-obj",
        about: "Shows how often objects are used, by the cache.",
        places: &[
            one("location"),
            Place {
                name: "ids",
                count: Count::Some,
            },
        ],
        options: &[],
        run: debug::count_references,
    },
    Command {
        name: "debug dump-hints",
        about: "Writes the hints of a repository as JSON.",
        places: &[one("location"), one("path")],
        options: &[],
        run: debug::dump_hints,
    },
    Command {
        name: "delete",
        about: "Deletes archives, or a whole repository.",
        places: &[at_most_one("location"), any("archives")],
        options: &[
            DRY_RUN,
            LIST,
            STATS,
            &[
                option(
                    &["--cache-only"],
                    "cache_only",
                    Nothing,
                    "delete the cache of the repository only",
                ),
                option(
                    &["--force"],
                    "force",
                    Nothing,
                    "delete archives that are damaged; twice: without looking into them",
                ),
                option(
                    &["--keep-security-info"],
                    "keep_security_info",
                    Nothing,
                    "keep what this machine remembers of the repository",
                ),
            ],
            SAVE_SPACE,
            CHECKPOINTS,
            FILTERS,
            SELECTION,
        ],
        run: delete::run,
    },
    Command {
        name: "diff",
        about: "Shows how two archives differ.",
        places: &[one("location"), one("archive2"), any("paths")],
        options: &[
            NUMERIC,
            &[
                option(
                    &["--same-chunker-params"],
                    "same_chunker_params",
                    Nothing,
                    "compare chunks though the archives do not say how they were cut",
                ),
                option(
                    &["--sort"],
                    "sort",
                    Nothing,
                    "sort by path (better: --sort-by)",
                ),
                option(
                    &["--sort-by"],
                    "diff_sort_by",
                    Once("FIELDS"),
                    "sort by fields, with < or > in front: path, size, size_diff, size_added, ...",
                ),
                option(
                    &["--content-only"],
                    "content_only",
                    Nothing,
                    "show other content only, no other metadata",
                ),
                option(
                    &["--json-lines"],
                    "json_lines",
                    Nothing,
                    "print lines of JSON",
                ),
            ],
            PATTERNS,
        ],
        run: diff::run,
    },
    Command {
        name: "export-tar",
        about: "Writes an archive as a tar file.",
        places: &[one("location"), one("tarfile"), any("paths")],
        options: &[TAR, LIST, PATTERNS, STRIP],
        run: tar::export,
    },
    Command {
        name: "extract",
        about: "Restores files of an archive into this folder.",
        places: &[one("location"), any("paths")],
        options: &[
            LIST,
            DRY_RUN,
            NUMERIC,
            ATTRIBUTES,
            &[
                option(
                    &["--stdout"],
                    "stdout",
                    Nothing,
                    "print the content of the files, one after the other",
                ),
                option(
                    &["--sparse"],
                    "sparse",
                    Nothing,
                    "make holes where there are zeros",
                ),
            ],
            PATTERNS,
            STRIP,
        ],
        run: extract::run,
    },
    Command {
        name: "help",
        about: "Says more about a command or a topic.",
        places: &[any("topic")],
        options: &[&[
            option(&["--epilog-only"], "epilog_only", Nothing, "the text only"),
            option(&["--usage-only"], "usage_only", Nothing, "the usage only"),
        ]],
        run: help::run,
    },
    Command {
        name: "import-tar",
        about: "Makes an archive of a tar file.",
        places: &[one("location"), one("tarfile")],
        options: &[
            TAR,
            STATS,
            LIST,
            FILTER,
            JSON,
            &[option(
                &["--ignore-zeros"],
                "ignore_zeros",
                Nothing,
                "go on behind the end of a tar file: several were joined",
            )],
            MAKE,
            CHECKPOINTS,
        ],
        run: tar::import,
    },
    Command {
        name: "info",
        about: "Shows what is known of a repository or of archives.",
        places: &[at_most_one("location")],
        options: &[JSON, FILTERS, SELECTION],
        run: info::run,
    },
    Command {
        name: "init",
        about: "Initialize a new, empty repository.",
        places: &[at_most_one("location")],
        options: &[&[
            option(
                &["-e", "--encryption"],
                "encryption",
                Value("MODE"),
                "none, authenticated, authenticated-blake2, repokey, repokey-blake2, keyfile or keyfile-blake2",
            ),
            option(
                &["--append-only"],
                "append_only",
                Nothing,
                "nothing can be freed in it until its configuration is changed",
            ),
            option(
                &["--storage-quota"],
                "storage_quota",
                Value("QUOTA"),
                "it may not grow beyond this: 5G, 1.5T",
            ),
            option(
                &["--make-parent-dirs"],
                "make_parent_dirs",
                Nothing,
                "create the folders above it, too",
            ),
            option(
                &["--import-related-secrets"],
                "import_related_secrets",
                Value("PATH"),
                "cut and name chunks as another repository does, by a file of `key export-related-secrets`",
            ),
        ]],
        run: init::run,
    },
    Command {
        name: "key change-passphrase",
        about: "Locks the key of a repository with another passphrase.",
        places: &[at_most_one("location")],
        options: &[],
        run: key::change_passphrase,
    },
    Command {
        name: "key export",
        about: "Writes a copy of the key, for a safe place.",
        places: &[at_most_one("location"), at_most_one("path")],
        options: &[&[
            option(
                &["--paper"],
                "paper",
                Nothing,
                "to be printed, and typed again",
            ),
            option(
                &["--qr-html"],
                "qr_html",
                Nothing,
                "as a page with a QR code",
            ),
        ]],
        run: key::export,
    },
    Command {
        name: "key export-related-secrets",
        about: "Writes what another repository needs to share chunks with this one.",
        places: &[at_most_one("location"), at_most_one("path")],
        options: &[],
        run: key::export_related_secrets,
    },
    Command {
        name: "key import",
        about: "Puts a copy of the key back.",
        places: &[at_most_one("location"), at_most_one("path")],
        options: &[&[option(
            &["--paper"],
            "paper",
            Nothing,
            "from what is typed line by line",
        )]],
        run: key::import,
    },
    Command {
        name: "key migrate-to-repokey",
        about: "Moves a key that Borg's ancestors kept behind a passphrase into the repository.",
        places: &[at_most_one("location")],
        options: &[],
        run: key::migrate_to_repokey,
    },
    Command {
        name: "list",
        about: "Lists archives, or the files of an archive.",
        places: &[at_most_one("location"), any("paths")],
        options: &[
            &[
                option(
                    &["--consider-checkpoints"],
                    "consider_checkpoints",
                    Nothing,
                    "list checkpoints, too",
                ),
                option(&["--short"], "short", Nothing, "names or paths only"),
                option(
                    &["--format"],
                    "format",
                    Value("FORMAT"),
                    "print so; see `borg help list`",
                ),
                option(&["--json"], "json", Nothing, "print archives as JSON"),
                option(
                    &["--json-lines"],
                    "json_lines",
                    Nothing,
                    "print files as lines of JSON",
                ),
            ],
            FILTERS,
            SELECTION,
            PATTERNS,
        ],
        run: list::run,
    },
    Command {
        name: "mount",
        about: "Shows archives as folders.",
        places: &[one("location"), one("mountpoint"), any("paths")],
        options: &[
            &[
                option(
                    &["--consider-checkpoints"],
                    "consider_checkpoints",
                    Nothing,
                    "show checkpoints, too",
                ),
                option(
                    &["-f", "--foreground"],
                    "foreground",
                    Nothing,
                    "do not go into the background",
                ),
                option(&["-o"], "options", Once("OPTIONS"), "options of the mount"),
            ],
            NUMERIC,
            FILTERS,
            SELECTION,
            PATTERNS,
            STRIP,
        ],
        run: mount::run,
    },
    Command {
        name: "prune",
        about: "Deletes archives by rules of how many of them stay.",
        places: &[at_most_one("location")],
        options: &[DRY_RUN, STATS, LIST, KEEP, FILTERS, SAVE_SPACE, CHECKPOINTS],
        run: prune::run,
    },
    Command {
        name: "recreate",
        about: "Makes archives anew: without some files, cut or compressed in another way.",
        places: &[at_most_one("location"), any("paths")],
        options: &[
            LIST,
            FILTER,
            DRY_RUN,
            &[
                option(
                    &["-s", "--stats"],
                    "stats",
                    Nothing,
                    "print statistics at the end",
                ),
                option(
                    &["--target"],
                    "target",
                    Value("TARGET"),
                    "make an archive of this name, and leave the other one",
                ),
                option(
                    &["--recompress"],
                    "recompress",
                    Optional("MODE", &["if-different", "never", "always"]),
                    "compress chunks anew: never, if-different or always",
                ),
            ],
            PATTERNS,
            TAGS,
            CHECKPOINTS,
            MAKE,
        ],
        run: recreate::run,
    },
    Command {
        name: "rename",
        about: "Gives an archive another name.",
        places: &[one("location"), one("name")],
        options: &[],
        run: rename::run,
    },
    Command {
        name: "serve",
        about: "Answers the calls of a client, as the other end of SSH.",
        places: &[],
        options: &[&[
            option(
                &["--restrict-to-path"],
                "restrict_to_paths",
                Each("PATH"),
                "repositories in this folder only",
            ),
            option(
                &["--restrict-to-repository"],
                "restrict_to_repositories",
                Each("PATH"),
                "this repository only",
            ),
            option(
                &["--append-only"],
                "append_only",
                Nothing,
                "let the client only add",
            ),
            option(
                &["--storage-quota"],
                "storage_quota",
                Value("QUOTA"),
                "repositories may not grow beyond this",
            ),
        ]],
        run: serve::run,
    },
    Command {
        name: "umount",
        about: "Ends a mount.",
        places: &[one("mountpoint")],
        options: &[],
        run: mount::unmount,
    },
    Command {
        name: "upgrade",
        about: "Lets archives and the manifest of old repositories be authenticated.",
        places: &[at_most_one("location")],
        options: &[
            DRY_RUN,
            &[
                option(&["--inplace"], "inplace", Nothing, "taken and not needed"),
                option(&["--force"], "force", Nothing, "also if it was done before"),
                option(&["--tam"], "tam", Nothing, "authenticate the manifest"),
                option(
                    &["--check-tam"],
                    "check_tam",
                    Nothing,
                    "say whether the manifest is",
                ),
                option(
                    &["--disable-tam"],
                    "disable_tam",
                    Nothing,
                    "do not ask for an authenticated manifest any more",
                ),
                option(
                    &["--check-archives-tam"],
                    "check_archives_tam",
                    Nothing,
                    "say which archives are authenticated",
                ),
                option(
                    &["--archives-tam"],
                    "archives_tam",
                    Nothing,
                    "authenticate all archives",
                ),
            ],
        ],
        run: upgrade::run,
    },
    Command {
        name: "version",
        about: "Shows the versions of the client and of the server.",
        places: &[at_most_one("location")],
        options: &[],
        run: version::run,
    },
    Command {
        name: "with-lock",
        about: "Runs a command while the repository is locked.",
        places: &[
            one("location"),
            one("command"),
            Place {
                name: "args",
                count: Count::Rest,
            },
        ],
        options: &[],
        run: lock::with_lock,
    },
];
