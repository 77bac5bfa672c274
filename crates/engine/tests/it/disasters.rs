//! Which disasters a strategy survives, as far as can be known.

use ravelin_engine::config::{Duplicity, Kind};
use ravelin_engine::scenarios::{Disaster, Scenario, Scenarios, Verdict, scenarios};
use ravelin_engine::secret::Reference;
use ravelin_engine::{Wanted, status};

use crate::workshop::{Workshop, wait_hours};

fn judge(workshop: &Workshop) -> Scenarios {
    workshop.with(|context, _| scenarios(&status(context).unwrap(), context))
}

fn of(judged: &Scenarios, disaster: Disaster) -> Scenario {
    let mut all = judged.scenarios.iter();
    all.find(|scenario| scenario.disaster == disaster)
        .unwrap()
        .clone()
}

fn uncovered(judged: &Scenarios) -> Vec<(Disaster, Verdict)> {
    let all = judged.scenarios.iter();
    all.filter(|scenario| scenario.verdict != Verdict::Covered)
        .map(|scenario| (scenario.disaster, scenario.verdict))
        .collect()
}

#[test]
fn without_a_snapshot_nothing_is_covered_and_a_backup_is_what_helps() {
    let workshop = Workshop::new(&["disk"]);
    let judged = judge(&workshop);
    assert_eq!(uncovered(&judged).len(), Disaster::ALL.len());
    assert_eq!(judged.weakest, Some(Disaster::DeletedFile));
    assert_eq!(judged.next.unwrap().to_string(), "run `ravelin backup`");
}

#[test]
fn a_layer_beside_the_files_brings_back_a_deleted_file_and_little_else() {
    let mut workshop = Workshop::new(&["disk"]);
    workshop.config.layers[0].passphrase = Some(Reference::Environment("P".to_owned()));
    workshop.write("a", &"one".repeat(1000));
    workshop.run_due();
    let judged = judge(&workshop);
    let file = of(&judged, Disaster::DeletedFile);
    assert_eq!(
        (file.verdict, file.layers),
        (Verdict::Covered, vec!["disk".to_owned()])
    );
    assert!(file.good_until.is_some());
    let disk = of(&judged, Disaster::DeadDisk);
    assert_eq!(disk.verdict, Verdict::NotCovered);
    assert_eq!(disk.good_until, None);
    assert_eq!(
        disk.because,
        "every good copy is on the disk with the files"
    );
    assert_eq!(judged.weakest, Some(Disaster::DeadDisk));
    assert_eq!(
        of(&judged, Disaster::LostPassphrase).verdict,
        Verdict::NotCovered
    );
}

#[test]
fn a_second_format_elsewhere_covers_what_the_first_cannot() {
    let mut workshop = Workshop::new(&["disk", "offsite"]);
    let offsite = &mut workshop.config.layers[1];
    offsite.kind = Kind::Duplicity(Duplicity::default());
    offsite.store = "b2://bucket/laptop".to_owned();
    offsite.passphrase = Some(Reference::Environment("P".to_owned()));
    workshop.config.layers[0].passphrase = Some(Reference::Environment("Q".to_owned()));
    workshop.write("a", "one");
    workshop.back_up(&Wanted::All);
    wait_hours(2);
    workshop.back_up(&Wanted::Named(vec!["disk".to_owned()]));
    let judged = judge(&workshop);
    let file = of(&judged, Disaster::DeletedFile);
    assert_eq!(file.layers, ["disk", "offsite"], "the freshest first");
    let fire = of(&judged, Disaster::Fire);
    assert_eq!(
        (fire.verdict, &fire.layers[..]),
        (Verdict::Covered, &["offsite".to_owned()][..])
    );
    let lost = file
        .good_until
        .unwrap()
        .duration_since(fire.good_until.unwrap());
    assert_eq!(lost.as_hours(), 2);
    // Of these, this program cannot see whether they hold.
    assert_eq!(
        uncovered(&judged),
        [
            (Disaster::Ransomware, Verdict::Perhaps),
            (Disaster::LostPassphrase, Verdict::Perhaps)
        ]
    );
    assert_eq!(judged.weakest, Some(Disaster::Ransomware));
    assert_eq!(
        judged.next.unwrap().to_string(),
        "run `ravelin store test b2://bucket/laptop`"
    );
    // With one account only, and in one format.
    workshop.config.layers[0].kind = workshop.config.layers[1].kind.clone();
    workshop.config.layers[0].store = "b2://bucket/other".to_owned();
    workshop.back_up(&Wanted::All);
    let judged = judge(&workshop);
    for disaster in [Disaster::LostAccount, Disaster::FormatBug] {
        assert_eq!(
            of(&judged, disaster).verdict,
            Verdict::NotCovered,
            "{disaster:?}"
        );
    }
    // A drive that is away cannot be written to by anybody.
    workshop.config.layers[0].store = "/nonexistent/drive".to_owned();
    workshop.back_up(&Wanted::All);
    let judged = judge(&workshop);
    assert_eq!(of(&judged, Disaster::Ransomware).layers, ["disk"]);
    assert_eq!(of(&judged, Disaster::Ransomware).verdict, Verdict::Covered);
}
