//! `borg help`, and `--help` of every command.

use super::arguments::{Arguments, Command, Count, Opt, Takes};
use super::fail::Failure;
use super::grammar::{COMMANDS, COMMON};
use super::print;
use super::session::Session;

/// Longer texts, by topic.
const TOPICS: &[(&str, &str)] = &[
    ("patterns", PATTERNS),
    ("placeholders", PLACEHOLDERS),
    ("compression", COMPRESSION),
    ("formats", FORMATS),
];

const PATTERNS: &str = "\
Which paths: patterns

The path as it is stored, without a slash in front, is compared with patterns:

  fm:PATTERN  `*` and `?` pass through slashes; the default of --exclude
  sh:PATTERN  `*` and `?` stop at slashes, `**/` is any number of folders;
              the default of --pattern
  re:REGEX    a regular expression that is found anywhere in the path
  pp:PATH     this path and all below it; the default of paths of a command
  pf:PATH     exactly this path

--exclude PATTERN and --exclude-from FILE leave out. Lines of --patterns-from,
and --pattern, begin with a sign:

  + PATTERN   take in
  - PATTERN   leave out, but look below
  ! PATTERN   leave out, and do not look below
  R PATH      a place to begin (create)
  P STYLE     the style of the patterns that follow

The first pattern that matches decides.
";

const PLACEHOLDERS: &str = "\
Placeholders in names, prefixes, patterns and comments

  {hostname} {fqdn} {reverse-fqdn} {user} {pid} {uuid4} {unixtime}
  {now} {utcnow}, with a format of strftime: {now:%Y-%m-%d}
  {borgversion} {borgmajor} {borgminor} {borgpatch}

{{ and }} stand for single braces.
";

const COMPRESSION: &str = "\
Compression: -C SPEC

  none
  lz4                  the default
  zstd[,LEVEL]         1 to 22, else 3
  zlib[,LEVEL]         0 to 9, else 6
  lzma[,LEVEL]         0 to 9, else 6
  auto,SPEC            only where lz4 finds that it gains something
  obfuscate,KIND,SPEC  with padding that hides sizes: 1-6, 110-123, 250
";

const FORMATS: &str = "\
Formats: list --format

Of archives: {archive} {name} {barchive} {comment} {bcomment} {id} {start}
{time} {end} {command_line} {hostname} {username} {tam}

Of files: {type} {mode} {user} {group} {uid} {gid} {path} {bpath} {source}
{linktarget} {flags} {size} {csize} {dsize} {dcsize} {num_chunks}
{unique_chunks} {mtime} {ctime} {atime} {isomtime} {isoctime} {isoatime}
{md5} {sha1} {sha224} {sha256} {sha384} {sha512} {blake2b} {xxh64} {health}
{extra} {archivename} {archiveid}

Of both: {NL} {LF} {CR} {TAB} {SPACE} {NUL}

Behind a colon: how wide, and where it stands ({name:<36}); of times, a format
of strftime ({mtime:%Y}).
";

pub(crate) fn usage_line() -> String {
    "usage: borg [-V] [-h] [common options] <command> ...".to_owned()
}

pub(crate) fn run(_session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let words: Vec<String> = arguments
        .all("topic")
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let topic = words.join(" ");
    if topic.is_empty() {
        return show(None);
    }
    if let Some((_, text)) = TOPICS.iter().find(|(name, _)| *name == topic) {
        return print(text.as_bytes());
    }
    match COMMANDS.iter().find(|command| command.name == topic) {
        Some(command) if arguments.has("usage_only") => {
            print(format!("{}\n", usage(command)).as_bytes())
        }
        Some(command) if arguments.has("epilog_only") => {
            print(format!("{}\n", command.about).as_bytes())
        }
        _ => show(Some(&topic)),
    }
}

/// Shows what can be typed: of the program, of a group of commands, or of one.
pub(crate) fn show(topic: Option<&str>) -> Result<(), Failure> {
    let mut text = String::new();
    match topic {
        None => {
            text.push_str(&usage_line());
            text.push_str("\n\nBorg backup, spoken by ravelin\n\ncommands:\n");
            for command in COMMANDS {
                text.push_str(&format!("  {:<28} {}\n", command.name, command.about));
            }
            text.push_str("\ncommon options:\n");
            text.push_str(&options(COMMON));
            text.push_str("\nmore: borg help <command>, or one of ");
            let topics: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
            text.push_str(&topics.join(", "));
            text.push('\n');
        }
        Some(name) => {
            let group = format!("{name} ");
            let of_group: Vec<&Command> = COMMANDS
                .iter()
                .filter(|command| command.name.starts_with(&group))
                .collect();
            match COMMANDS.iter().find(|command| command.name == name) {
                Some(command) => {
                    text.push_str(&usage(command));
                    text.push_str(&format!("\n\n{}\n\noptions:\n", command.about));
                    for table in command.options {
                        text.push_str(&options(table));
                    }
                    text.push_str("\ncommon options:\n");
                    text.push_str(&options(COMMON));
                }
                None if !of_group.is_empty() => {
                    text.push_str(&format!("usage: borg {name} <command> ...\n\ncommands:\n"));
                    for command in of_group {
                        text.push_str(&format!("  {:<28} {}\n", command.name, command.about));
                    }
                }
                None => {
                    return Err(Failure::usage(format!("No help available on {name}")));
                }
            }
        }
    }
    print(text.as_bytes())
}

fn usage(command: &Command) -> String {
    let mut line = format!("usage: borg {} [options]", command.name);
    for place in command.places {
        let name = match place.name {
            "location" => "REPOSITORY[::ARCHIVE]".to_owned(),
            name => name.to_uppercase(),
        };
        line.push_str(&match place.count {
            Count::One => format!(" {name}"),
            Count::AtMostOne => format!(" [{name}]"),
            Count::Any | Count::Rest => format!(" [{name} ...]"),
            Count::Some => format!(" {name} [{name} ...]"),
        });
    }
    line
}

fn options(table: &[Opt]) -> String {
    let mut text = String::new();
    for option in table {
        let mut flags = option.flags.join(", ");
        match option.takes {
            Takes::Nothing => {}
            Takes::Value(name) | Takes::Once(name) | Takes::Each(name) => {
                flags.push_str(&format!(" {name}"));
            }
            Takes::Optional(name, _) => flags.push_str(&format!(" [{name}]")),
        }
        text.push_str(&match flags.len() {
            ..=28 => format!("  {flags:<28} {}\n", option.help),
            _ => format!("  {flags}\n{:31}{}\n", "", option.help),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_usage_and_no_option_twice() {
        for command in COMMANDS {
            assert!(usage(command).starts_with("usage: borg "));
            let mut seen = std::collections::HashSet::new();
            let all = command.options.iter().flat_map(|table| table.iter());
            for option in all.chain(COMMON) {
                assert!(
                    seen.insert(option.name),
                    "{}: {}",
                    command.name,
                    option.name
                );
            }
        }
    }
}
