//! Repositories behind SSH: this program at either end of the line, and at both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use snapbox::cmd::cargo_bin;
use tempfile::TempDir;
use testkit::{Ignore, StockBorg, Tree, assert_same, rsh_stand_in};

use crate::bench::Bench;

const PASSPHRASE: &str = "a passphrase";

/// This program under the name of the other.
fn link_named_borg(folder: &Path) -> PathBuf {
    let link = folder.join("borg");
    std::os::unix::fs::symlink(cargo_bin!("ravelin"), &link).unwrap();
    link
}

/// A stock client whose server is this program, through `rsh`.
fn client(stock: &StockBorg, rsh: &str, server: &Path) -> StockBorg {
    stock
        .with_passphrase(PASSPHRASE)
        .with_env("BORG_RSH", rsh)
        .with_env("BORG_REMOTE_PATH", server)
        .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
        .with_env("BORG_DELETE_I_KNOW_WHAT_I_AM_DOING", "YES")
        .with_env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")
}

/// What the stock client does over years, in a minute.
fn a_life(stock: &StockBorg, location: &str, on_disk: &Path, scratch: &Path) {
    let tree = Tree::new(41).odd_names().sizes().links();
    let local = on_disk.to_str().unwrap();
    stock.run([
        "init",
        "--encryption=repokey-blake2",
        "--make-parent-dirs",
        location,
    ]);
    let archive = |name: &str| format!("{location}::{name}");
    stock.run_in(tree.path(), ["create", &archive("one"), "."]);
    fs::write(tree.path().join("added"), "more").unwrap();
    stock.run_in(tree.path(), ["create", &archive("two"), "."]);
    stock.run(["rename", &archive("one"), "first"]);
    assert_eq!(stock.run(["list", "--short", location]), "first\ntwo\n");
    stock.run(["key", "change-passphrase", location]);
    stock.run(["check", "--verify-data", location]);
    let target = scratch.join("extracted");
    fs::create_dir(&target).unwrap();
    stock.run_in(&target, ["extract", &archive("two")]);
    let ignore = Ignore {
        root: true,
        sockets: true,
        linked_symlinks: true,
        ..Ignore::default()
    };
    assert_same(tree.path(), &target, &ignore);
    stock.run(["delete", &archive("first")]);
    stock.run_in(tree.path(), ["create", &archive("three"), "."]);
    stock.run(["prune", "--keep-last=1", location]);
    stock.run(["compact", location]);
    stock.run(["check", "--repair", location]);
    // And what is on the disk is what the stock program would have made of it.
    stock.run(["check", "--verify-data", local]);
    assert_eq!(stock.run(["list", "--short", local]), "three\n");
    stock.run(["delete", location]);
    assert!(!on_disk.exists());
}

#[test]
fn a_stock_client_lives_with_our_server() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let server = link_named_borg(scratch.path());
    let rsh = rsh_stand_in(scratch.path(), "");
    let stock =
        client(&stock, rsh.to_str().unwrap(), &server).with_env("BORG_NEW_PASSPHRASE", PASSPHRASE);
    let on_disk = scratch.path().join("deep/repository");
    let location = format!("ssh://nas{}", on_disk.display());
    a_life(&stock, &location, &on_disk, scratch.path());
}

#[test]
fn a_stock_client_lives_with_our_server_behind_a_real_sshd() {
    let (Some(stock), Some(sshd)) = (testkit::stock_borg(), testkit::sshd(None)) else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let server = link_named_borg(scratch.path());
    let stock = client(&stock, &sshd.rsh(), &server).with_env("BORG_NEW_PASSPHRASE", PASSPHRASE);
    let on_disk = scratch.path().join("deep/repository");
    let location = format!("ssh://server{}", on_disk.display());
    a_life(&stock, &location, &on_disk, scratch.path());
}

#[test]
fn a_forced_command_decides_what_a_client_may_do() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let server = link_named_borg(scratch.path());
    let allowed = scratch.path().join("allowed");
    fs::create_dir(&allowed).unwrap();
    let forced = format!(
        "{} serve --append-only --restrict-to-path {} --storage-quota 20M",
        server.display(),
        allowed.display()
    );
    let Some(sshd) = testkit::sshd(Some(&forced)) else {
        return;
    };
    // What the client wants to run there does not count.
    let stock = client(
        &stock,
        &sshd.rsh(),
        Path::new("borg --umask=0000 --no-such-flag"),
    );
    let location = |path: &str| format!("ssh://server{}/{path}", scratch.path().display());
    let outside = stock.output(["init", "--encryption=none", &location("allowed-not")]);
    let said = String::from_utf8_lossy(&outside.stderr);
    assert!(said.contains("Repository path not allowed"), "{said}");
    let upwards = location("allowed/../outside");
    let outside = stock.output(["init", "--encryption=none", &upwards]);
    assert!(!outside.status.success());
    assert!(!scratch.path().join("outside").exists());

    let repository = location("allowed/repository");
    stock.run(["init", "--encryption=repokey", &repository]);
    let tree = Tree::new(42).sizes();
    let archive = format!("{repository}::one");
    stock.run(["create", &archive, tree.path().to_str().unwrap()]);
    stock.run(["delete", &archive]);
    stock.run(["compact", &repository]);
    let destroyed = stock.output(["delete", &repository]);
    assert!(!destroyed.status.success(), "append-only was not kept");
    // Deleted for the client; but all of it is still there for who sits at the disk.
    let on_disk = allowed.join("repository");
    let log = fs::read_to_string(on_disk.join("transactions")).unwrap();
    assert!(log.lines().count() >= 3, "{log}");
    let lines: Vec<&str> = log.lines().collect();
    let created: u64 = lines[0]
        .split([' ', ','])
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap();
    undo_after(&on_disk, created);
    // A machine that remembers nothing: the others would, rightly, not go back in time.
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = client(&stock, &sshd.rsh(), &server);
    let disk = on_disk.to_str().unwrap();
    assert_eq!(stock.run(["list", "--short", disk]), "one\n");
    stock.run(["check", "--verify-data", disk]);

    fs::write(
        tree.path().join("large"),
        testkit::Random::new(43).noise(21 << 20),
    )
    .unwrap();
    let archive = format!("{repository}::two");
    let over = stock.output(["create", &archive, tree.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&over.stderr);
    assert!(said.contains("storage quota (20.00 MB)"), "{said}");
}

/// Goes back in an append-only repository, as Borg's manual says it.
fn undo_after(repository: &Path, transaction: u64) {
    for folder in fs::read_dir(repository.join("data")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            let number: u64 = file.file_name().unwrap().to_str().unwrap().parse().unwrap();
            if number > transaction {
                fs::remove_file(file).unwrap();
            }
        }
    }
    for entry in fs::read_dir(repository).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if ["index.", "hints.", "integrity."]
            .iter()
            .any(|kind| name.starts_with(kind))
        {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// A layer behind SSH for this program, with Borg's directories where the stock program of the
/// same test has them.
struct Layer {
    bench: Bench,
    location: String,
    rsh: String,
    remote_path: PathBuf,
    base: PathBuf,
}

impl Layer {
    fn new(location: &str, rsh: &str, remote_path: &Path, stock: &StockBorg) -> Self {
        let layer = Self {
            bench: Bench::new(),
            location: location.to_owned(),
            rsh: rsh.to_owned(),
            remote_path: remote_path.to_owned(),
            base: stock.base_dir().to_owned(),
        };
        layer.configure("");
        layer
    }

    fn configure(&self, more: &str) {
        self.bench.private_file(
            ".config/ravelin/ravelin.toml",
            &format!(
                "[[source]]\npaths = [\"~/files\"]\n\n[layer.far]\nkind = \"borg\"\n\
                 store = \"{}\"\npassphrase = {{ env = \"P\" }}\n{more}",
                self.location
            ),
        );
    }

    fn files(&self) -> PathBuf {
        self.bench.home().join("files")
    }

    fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> snapbox::cmd::Command {
        self.bench
            .ravelin(arguments)
            .env("P", PASSPHRASE)
            .env("BORG_RSH", &self.rsh)
            .env("BORG_REMOTE_PATH", &self.remote_path)
            .env("BORG_BASE_DIR", &self.base)
    }

    /// Without the line above the table.
    fn snapshot_count(&self) -> usize {
        self.run(["snapshots"]).lines().count() - 1
    }

    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let assert = self.command(arguments).assert().success();
        String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
    }
}

/// What keeps a layer in order: old snapshots go, one is made anew, damage is mended, and the key
/// gets another passphrase.
fn a_layer_is_kept(layer: &Layer, on_disk: &Path) {
    layer.configure("keep = { last = 1 }\n");
    layer.run(["prune"]);
    assert_eq!(layer.snapshot_count(), 1);
    layer.configure("");
    layer.run(["comment", "latest", "a remark"]);
    layer.run(["recreate", "latest", "--compression", "zstd,1"]);
    layer.run(["compact"]);
    layer.run(["verify", "--max-duration", "1 s"]);
    let (segment, size) = largest_segment(on_disk);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[usize::try_from(size / 2).unwrap()] ^= 2;
    fs::write(&segment, bytes).unwrap();
    layer.command(["verify", "--data"]).assert().code(1);
    layer
        .command(["repair", "--dry-run", "--data"])
        .assert()
        .code(1);
    layer.run(["repair", "--data"]);
    // The files are there still: they heal.
    layer.run(["backup"]);
    layer.run(["repair"]);
    layer.run(["verify", "--data"]);
    let new = layer.bench.private_file("new", "another passphrase");
    let new = new.to_str().unwrap();
    layer.run(["key", "change-passphrase", "--new-file", new]);
    layer.command(["snapshots"]).assert().code(12);
    let backup = layer.command(["backup"]).env("P", "another passphrase");
    backup.assert().success();
    let judge = judge("another passphrase");
    judge.run(["check", "--verify-data", on_disk.to_str().unwrap()]);
}

/// A stock client that remembers nothing, and whose memory nobody shares: it meets the repository
/// at another place.
fn judge(passphrase: &str) -> StockBorg {
    testkit::stock_borg().unwrap().with_passphrase(passphrase)
}

fn largest_segment(repository: &Path) -> (PathBuf, u64) {
    let files = fs::read_dir(repository.join("data/0")).unwrap();
    let sizes = files.map(|file| {
        let file = file.unwrap();
        (file.path(), file.metadata().unwrap().len())
    });
    sizes.max_by_key(|(_, size)| *size).unwrap()
}

/// What a layer does: created, filled twice, looked into, verified, restored.
fn a_layer_works(layer: &Layer, on_disk: &Path) {
    fs::create_dir(layer.files()).unwrap();
    let tree = Tree::at(&layer.files(), 44).odd_names().sizes().links();
    layer.run(["init"]);
    layer.run(["backup"]);
    fs::write(tree.path().join("added"), "more").unwrap();
    layer.run(["backup"]);
    assert_eq!(layer.snapshot_count(), 2);
    layer.run(["verify", "--data"]);
    let files = layer.files().display().to_string();
    layer.run(["restore", "latest", &files, "--to", "back"]);
    let back = layer.bench.home().join("back/files");
    let ignore = Ignore {
        root: true,
        sockets: true,
        linked_symlinks: true,
        ..Ignore::default()
    };
    assert_same(tree.path(), &back, &ignore);
    let stock = judge(PASSPHRASE);
    let disk = on_disk.to_str().unwrap();
    stock.run(["check", "--verify-data", disk]);
    assert_eq!(stock.run(["list", "--short", disk]).lines().count(), 2);
}

#[test]
fn a_layer_lives_on_a_stock_server_behind_a_real_sshd() {
    let (Some(stock), Some(sshd)) = (testkit::stock_borg(), testkit::sshd(None)) else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let on_disk = scratch.path().join("deep/repository");
    let location = format!("ssh://server{}", on_disk.display());
    let layer = Layer::new(&location, &sshd.rsh(), &stock.program(), &stock);
    a_layer_works(&layer, &on_disk);
    a_layer_is_kept(&layer, &on_disk);
}

#[test]
fn a_layer_lives_on_our_own_server_behind_a_real_sshd() {
    let (Some(stock), Some(sshd)) = (testkit::stock_borg(), testkit::sshd(None)) else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let server = link_named_borg(scratch.path());
    let on_disk = scratch.path().join("deep/repository");
    let location = format!("server:{}", on_disk.display());
    let layer = Layer::new(&location, &sshd.rsh(), &server, &stock);
    a_layer_works(&layer, &on_disk);
    a_layer_is_kept(&layer, &on_disk);
}

#[test]
fn a_connection_that_dies_in_the_middle_is_explained_and_the_next_run_succeeds() {
    let (Some(stock), Some(sshd)) = (testkit::stock_borg(), testkit::sshd(None)) else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let server = link_named_borg(scratch.path());
    let on_disk = scratch.path().join("repository");
    let location = format!("ssh://server{}", on_disk.display());
    let layer = Layer::new(&location, &sshd.rsh(), &server, &stock);
    fs::create_dir(layer.files()).unwrap();
    fs::write(layer.files().join("first"), "first").unwrap();
    layer.run(["init"]);
    layer.run(["backup"]);
    // Enough that it takes a while.
    let mut random = testkit::Random::new(45);
    for number in 0..8 {
        let path = layer.files().join(format!("large-{number}"));
        fs::write(path, random.noise(16 << 20)).unwrap();
    }
    let before = size_of(&on_disk);
    let mut backup = Command::new(cargo_bin!("ravelin"))
        .arg("backup")
        .env_clear()
        .envs([
            ("HOME", layer.bench.home()),
            ("BORG_BASE_DIR", layer.base.clone()),
        ])
        .envs([("P", PASSPHRASE), ("TZ", "UTC"), ("BORG_RSH", &layer.rsh)])
        .env("BORG_REMOTE_PATH", &server)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while size_of(&on_disk) < before + (8 << 20) {
        assert!(
            backup.try_wait().unwrap().is_none(),
            "it was too fast to be hurt"
        );
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "nothing arrives"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    for id in processes_with(&sshd.config()) {
        let killed = Command::new("kill")
            .args(["-KILL", &id.to_string()])
            .status();
        assert!(killed.unwrap().success());
    }
    let ended = backup.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("[unreachable]"), "{said}");
    assert!(said.contains("was lost"), "{said}");
    // No lock, nothing of the snapshot, and no help needed.
    assert_eq!(layer.snapshot_count(), 1);
    layer.run(["backup"]);
    assert_eq!(layer.snapshot_count(), 2);
    layer.run(["verify", "--data"]);
    let stock = stock
        .with_passphrase(PASSPHRASE)
        .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    stock.run(["check", "--verify-data", on_disk.to_str().unwrap()]);
}

/// Each program as the client, this one as the server: what was stored up to the last checkpoint is
/// not sent again. (This program with a stock server: the tests of the `borg` crate.)
#[test]
fn whoever_is_the_client_a_cut_line_costs_only_what_came_after_the_last_checkpoint() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let size = 24 << 20;
    let tree = TempDir::new().unwrap();
    let mut random = testkit::Random::new(46);
    for number in 0..12 {
        let path = tree.path().join(format!("file-{number}"));
        fs::write(path, random.noise(size / 12)).unwrap();
    }
    for is_ours in [false, true] {
        let scratch = TempDir::new().unwrap();
        let server = link_named_borg(scratch.path());
        let on_disk = scratch.path().join("repository");
        let location = format!("ssh://nas{}", on_disk.display());
        let line = |name: &str, through: &str| {
            let folder = scratch.path().join(name);
            fs::create_dir(&folder).unwrap();
            let rsh = rsh_stand_in(&folder, through);
            client(&stock, rsh.to_str().unwrap(), &server)
        };
        let command = |client: &StockBorg, arguments: &[&str]| {
            let mut command = match is_ours {
                true => Command::new(&server),
                false => client.command::<&str>([]),
            };
            client.settle(&mut command);
            let output = command.args(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let out = String::from_utf8(output.stdout).unwrap();
            (output.status.success(), out, said)
        };
        let done = |client: &StockBorg, arguments: &[&str]| {
            let (is_good, out, said) = command(client, arguments);
            assert!(is_good, "{arguments:?}: {said}");
            out
        };
        let whole = line("whole", "");
        done(&whole, &["init", "--encryption=repokey-blake2", &location]);
        // Three seconds of data, a checkpoint every second, cut after two thirds.
        let cut = line("cut", &format!("stdbuf -o0 head -c {} |", size * 2 / 3));
        let archive = format!("{location}::first");
        let path = tree.path().to_str().unwrap();
        let slow = ["--upload-ratelimit", "8000", "--checkpoint-interval", "1"];
        let create = [&["create"], &slow[..], &[&archive, path]].concat();
        let (is_good, _, said) = command(&cut, &create);
        assert!(!is_good, "the line was not cut: {said}");

        let list = ["list", "--short", "--consider-checkpoints", &location];
        let listed = done(&whole, &list);
        assert_eq!(listed, "first.checkpoint\n", "is_ours: {is_ours}");
        let created = done(&whole, &["create", "--json", &archive, path]);
        let created: serde_json::Value = serde_json::from_str(&created).unwrap();
        let sums = &created["archive"]["stats"];
        assert_eq!(sums["original_size"], size);
        let sent = sums["deduplicated_size"].as_u64().unwrap();
        assert!(sent < size as u64 * 3 / 4, "{sent} bytes were sent again");
        let repository = on_disk.to_str().unwrap();
        stock
            .with_passphrase(PASSPHRASE)
            .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
            .run(["check", "--verify-data", repository]);
    }
}

/// Bytes of all segments.
fn size_of(repository: &Path) -> u64 {
    let folders = fs::read_dir(repository.join("data")).into_iter().flatten();
    let files = folders
        .flatten()
        .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
    files
        .flatten()
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// The `ssh` processes that use this test's own configuration.
fn processes_with(config: &Path) -> Vec<u32> {
    let config = config.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut arguments = arguments.split(|byte| *byte == 0);
            arguments.next() == Some(b"ssh")
                && arguments.any(|argument| argument == config.as_bytes())
        })
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect()
}

#[test]
fn a_server_that_was_never_reached_is_explained() {
    let bench = Bench::new();
    let config = "[[source]]\npaths = [\"~\"]\n\n[layer.far]\nkind = \"borg\"\n\
                  store = \"ssh://nas/backup\"\npassphrase = { env = \"P\" }\n";
    bench.file(".config/ravelin/ravelin.toml", config);
    let assert = bench
        .ravelin(["snapshots"])
        .env("P", PASSPHRASE)
        .env("BORG_RSH", "sh -c 'echo no route to nas >&2; exit 255'")
        .assert()
        .failure();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("[unreachable]"), "{said}");
    assert!(said.contains("no route to nas"), "{said}");
    assert!(said.contains("ssh://nas/backup"), "{said}");
}
