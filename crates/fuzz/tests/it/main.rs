//! A short look at every parser: its examples, and changes of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ravelin_fuzz::answers::{LOCATIONS, read};
use ravelin_fuzz::{Parser, corpus, parsers};
use testkit::Changes;

/// Changes of examples that each parser is given.
const CHANGES: usize = 3000;

/// Those that look at files are slower; none takes longer than this all in all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest that a parser may think about one input of 64 KiB, in a build without optimisation on a
/// machine with other things to do.
const SLOW: Duration = Duration::from_secs(20);

fn examples(parser: Parser) -> Vec<Vec<u8>> {
    let folder = fs::read_dir(corpus(parser.name));
    let mut paths: Vec<_> = folder
        .unwrap_or_else(|_| panic!("{} has no examples", parser.name))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Lets a parser read, and says when that did harm.
fn try_out(parser: Parser, bytes: &[u8]) -> Option<String> {
    let began = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| (parser.read)(bytes)));
    let fault = match ended {
        Err(_) => "panicked",
        Ok(()) if began.elapsed() > SLOW => "took too long",
        Ok(()) => return None,
    };
    Some(format!("{} {fault} at {}", parser.name, hex::encode(bytes)))
}

#[test]
fn no_bytes_do_harm() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(1);
    println!("SEED={seed}");
    let mut faults = Vec::new();
    for parser in parsers() {
        let examples = examples(parser);
        let began = Instant::now();
        let changes = Changes::new(examples.clone(), seed).take(CHANGES);
        let mut inputs = examples.into_iter().chain(changes);
        while began.elapsed() < PATIENCE {
            let Some(bytes) = inputs.next() else {
                break;
            };
            if let Some(fault) = try_out(parser, &bytes) {
                faults.push(fault);
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_parser_has_a_name_of_its_own_and_every_example_a_parser() {
    let names: Vec<&str> = parsers().map(|parser| parser.name).collect();
    let known: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(known.len(), names.len());
    let folders = fs::read_dir(corpus("")).unwrap();
    let found: BTreeSet<String> = folders
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, known);
}

#[test]
fn the_examples_of_services_answer_nearly_all_that_they_are_asked() {
    for (name, location) in LOCATIONS {
        let parser = parsers().find(|parser| parser.name == name).unwrap();
        let answered: BTreeSet<usize> = examples(parser)
            .iter()
            .flat_map(|bytes| read(location, bytes))
            .collect();
        // Of twelve questions to any store; some rename nothing, some cannot create. Dropbox has eight more.
        let least = if name == "store-dropbox" { 18 } else { 9 };
        assert!(answered.len() >= least, "{name}: {answered:?}");
    }
}

#[test]
fn a_parser_that_does_harm_is_found() {
    let parser = Parser {
        name: "naive",
        read: |bytes| {
            if bytes.starts_with(b"len=") {
                assert!(bytes.len() < 8, "it believed the number");
            }
        },
    };
    let mut changes = Changes::new(vec![b"len=1".to_vec()], 1).take(CHANGES);
    assert!(changes.any(|bytes| try_out(parser, &bytes).is_some()));
}
