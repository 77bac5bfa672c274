//! The Debian package: it is installed into a clean root, works there, and goes again.

use std::path::Path;
use std::process::Command;

use testkit::{missing, output, require, require_root, run};

/// Runs in a system of its own: this one, with everything that is written kept apart, and without
/// what is mounted in it.
const IN_A_CLEAN_ROOT: &str = r#"
set -eu
package=$1 scratch=$2
mount -t tmpfs none "$scratch"
mkdir "$scratch"/above "$scratch"/work "$scratch"/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/above,workdir=$scratch/work" "$scratch/root"
cp "$package" "$scratch/root/ravelin.deb"
mount -t proc proc "$scratch/root/proc"
mount --rbind /dev "$scratch/root/dev"
exec chroot "$scratch/root" /bin/bash -euc "$3"
"#;

const AS_A_NEWCOMER: &str = r"
dpkg --install /ravelin.deb
test -e /usr/share/man/man1/ravelin-backup.1.gz
bash -n /usr/share/bash-completion/completions/ravelin
/usr/lib/ravelin/bin/borg serve --help | grep --quiet append-only
systemd-analyze verify --man=no --recursive-errors=no /usr/lib/systemd/system/ravelin*
XDG_RUNTIME_DIR=/tmp systemd-analyze verify --man=no --recursive-errors=no --user /usr/lib/systemd/user/ravelin*
systemd-analyze security --offline=yes --no-pager --threshold=35 \
  /usr/lib/systemd/system/ravelin.service
mkdir --parents /home/newcomer/Documents
export HOME=/home/newcomer
unset XDG_CONFIG_HOME XDG_STATE_HOME XDG_DATA_HOME XDG_CACHE_HOME
cd
echo 'Dear Ada' > Documents/letter
ravelin quickstart Documents
ravelin schedule install --by cron
crontab -l | grep --quiet '/usr/bin/ravelin'
ravelin schedule remove
rm Documents/letter
ravelin restore latest ~/Documents --in-place
grep Ada Documents/letter
dpkg --remove ravelin
test ! -e /usr/bin/ravelin
test ! -e /usr/lib/ravelin
test ! -e /usr/lib/systemd/user/ravelin.timer
test -e .local/share/ravelin/disk/config
echo all is well
";

#[test]
fn the_package_is_installed_backs_up_restores_and_goes_again() {
    let tools = [
        "crontab",
        "dpkg-deb",
        "objdump",
        "strip",
        "systemd-analyze",
        "unshare",
    ];
    if require_root().is_none() || tools.iter().any(|tool| require(tool).is_none()) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut build = Command::new("bash");
    build.arg(root.join("packaging/deb.sh"));
    let package = run(build.arg(env!("CARGO_BIN_EXE_ravelin")));
    let scratch = tempfile::tempdir().unwrap();
    let mut newcomer = Command::new("unshare");
    newcomer
        .args([
            "--mount",
            "--pid",
            "--fork",
            "bash",
            "-c",
            IN_A_CLEAN_ROOT,
            "-",
        ])
        .arg(root.join(package.trim()))
        .arg(scratch.path())
        .arg(AS_A_NEWCOMER);
    let done = output(&mut newcomer);
    let (text, complaint) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    if complaint.contains("mount: ") {
        missing("a file system on top of another", complaint);
        return;
    }
    assert!(text.ends_with("all is well\n"), "{text}\n{complaint}");
}
