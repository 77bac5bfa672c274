//! What a restore fetches from the store.

use std::io::Read as _;
use std::sync::Arc;

use duplicity::{Protection, Wanted};
use ravelin_duplicity as duplicity;
use store::{Operation, Record};
use tree::TreePath;

use crate::support::{Place, at};

#[test]
fn one_file_needs_the_sets_that_speak_of_it_and_no_others() {
    let place = Place::new();
    let noise = testkit::Random::new(3).noise(200_000);
    place.write("changes", &noise);
    place.write("stays", &noise);
    let recorded = Arc::new(Record::new(place.disk()));
    let archive = place.archive_on(recorded.clone(), place.settings(Protection::None));
    place.back_up(&archive, Wanted::Full, 1);
    for minute in 2..6 {
        place.write(
            "changes",
            [&[7; 100], &noise[..usize::try_from(minute).unwrap() * 1000]].concat(),
        );
        place.back_up(&archive, Wanted::Increment, minute);
    }
    let collection = archive.collection(at(9)).unwrap();
    let sets = &collection.chains[0].sets;
    for (path, volumes) in [("stays", 1), ("changes", 5)] {
        let before = recorded.count(Operation::Read);
        let path = TreePath::new(path).unwrap();
        let mut content = Vec::new();
        let mut file = archive.file(sets, &path).unwrap().unwrap();
        file.read_to_end(&mut content).unwrap();
        let on_disk = std::fs::read(place.path("source").join(path.to_string())).unwrap();
        assert!(content == on_disk, "{path}");
        assert_eq!(recorded.count(Operation::Read) - before, volumes, "{path}");
    }
}
