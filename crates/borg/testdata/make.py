#!/usr/bin/env python3
"""Makes golden repositories with a release of Borg. See README.md beside this file.

Run by a Python that has Borg 1.4.5's modules, which read every release and so tell what
each repository holds:

    target/stock/borg-1.4.5/bin/python crates/borg/testdata/make.py PATH/TO/borg [CASE…]

A folder that exists is left as it is: golden data is added to, never edited.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from borg import helpers
from borg.archive import Archive
from borg.crypto.key import ArchiveTAMInvalid
from borg.helpers import Manifest
from borg.logger import setup_logging
from borg.repository import Repository

HERE = Path(__file__).resolve().parent
BORG = Path(sys.argv[1]).resolve()
RELEASE = subprocess.run([BORG, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode().split()[1]
VERSION = tuple(int(part) for part in RELEASE.split("."))
PASSPHRASE = "correct horse ☃"
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("BORG_")},
    "BORG_PASSPHRASE": PASSPHRASE,
    "BORG_DISPLAY_PASSPHRASE": "no",
    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
CAPTURED = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
DAY = 86400
EPOCH = 1_700_000_000


def noise(name, size):
    """Bytes that do not compress, the same every time."""
    stream = b"".join(hashlib.sha256(f"{name} {n}".encode()).digest() for n in range(size // 32 + 1))
    return stream[:size]


class Case:
    """A scratch place with a tree and a repository, and the folder it ends up in."""

    def __init__(self, name):
        self.name = name
        self.folder = HERE / f"borg-{RELEASE}" / name
        self.scratch = Path(tempfile.mkdtemp(prefix="golden-"))
        self.repository = self.scratch / "repository"
        self.source = self.scratch / "source"
        self.source.mkdir()
        # Archives hold the command line: not where the program is on this machine.
        self.program = self.scratch / "borg"
        self.program.symlink_to(BORG)
        self.archives = 0

    def borg(self, *arguments, codes=(0,), **options):
        done = subprocess.run([self.program, *map(str, arguments)], **self.surroundings(), **CAPTURED, **options)
        if done.returncode not in codes:
            raise SystemExit(f"{self.name}: {arguments}: {done.returncode}\n{done.stdout.decode()}")

    def surroundings(self):
        """Where and with which environment the program runs: 1.0 knows no BORG_BASE_DIR."""
        home = str(self.scratch / "home")
        Path(home).mkdir(exist_ok=True)
        return {"cwd": self.source, "env": {**ENVIRONMENT, "HOME": home, "BORG_BASE_DIR": home}}

    def init(self, mode, *options):
        self.mode = mode
        self.borg("init", f"--encryption={mode}", *options, self.repository)

    def create(self, name, *options):
        self.archives += 1
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(EPOCH + self.archives * DAY))
        # A file that is younger than the archive's beginning is fine, a changing one is not.
        self.borg("create", "--timestamp", at, *options, f"{self.repository}::{name}", ".")

    def plant(self):
        """One of each kind, small."""
        def write(path, content, mode=0o644):
            path = os.path.join(os.fsencode(self.source), path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)
            return path

        text = b"".join(b"line %d of a text that compresses\n" % n for n in range(60))
        write(b"text", text)
        write(b"noise", noise("noise", 5000))
        write(b"empty", b"")
        write(b"again/noise", noise("noise", 5000))
        write(b"again/program", b"#!/bin/sh\n", 0o755)
        write(b"again/private", b"secret\n", 0o400)
        write(b"zeros", bytes(9000))
        for name in [b"new\nline", b"not UTF-8 \xff\xfe", "ünïcode ☃".encode(), b"-rf", b" space ", b"x" * 200]:
            write(b"names/" + name, name)
        special = os.fsencode(self.source) + b"/special"
        os.mkdir(special)
        os.symlink(b"../text", special + b"/link")
        os.symlink(b"nowhere \xff", special + b"/broken")
        os.mkfifo(special + b"/pipe")
        write(b"special/one name", b"linked\n")
        os.link(special + b"/one name", special + b"/two names")
        attributed = write(b"special/attributes", b"with attributes\n")
        os.setxattr(attributed, "user.text", b"value")
        os.setxattr(attributed, "user.binary", b"\x00\xff\x80")
        os.setxattr(attributed, "user.empty", b"")
        entries = [(1, 6, 2**32 - 1), (2, 4, 12345), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 0, 2**32 - 1)]
        acl = (2).to_bytes(4, "little") + b"".join(
            tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + number.to_bytes(4, "little")
            for tag, permissions, number in entries
        )
        os.setxattr(attributed, "system.posix_acl_access", acl)
        os.mkdir(special + b"/folder", 0o750)
        os.setxattr(special + b"/folder", "system.posix_acl_default", acl)
        if os.geteuid() == 0:
            os.mknod(special + b"/null", 0o020666, os.makedev(1, 3))
            owned = write(b"special/owned", b"of somebody else\n")
            os.chown(owned, 12345, 54321)
            os.chmod(owned, 0o4755)
        self.age()

    def age(self):
        """Times of the past, to the nanosecond, from the bottom up."""
        second = 0
        for directory, names, files in sorted(os.walk(os.fsencode(self.source)), reverse=True):
            for name in sorted(names + files) + [b"."]:
                second += 1
                nanoseconds = (EPOCH - 10 * DAY + second) * 10**9 + 123456789
                path = os.path.join(directory, name)
                os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)

    def change(self):
        """What the second archive finds different."""
        (self.source / "text").write_bytes(b"replaced\n")
        (self.source / "more").write_bytes(noise("more", 3000))
        shutil.rmtree(self.source / "again")
        self.age()

    def keep(self):
        """Puts the repository in its folder, with its key, its passphrase and what is in it."""
        made = self.scratch / "made"
        golden = made / "repository"
        shutil.copytree(self.repository, golden)
        remove_locks(golden)
        keys = sorted((self.scratch / "home/.config/borg/keys").glob("*"))
        if keys:
            shutil.copy(keys[0], made / "key")
        if self.mode != "none":
            (made / "passphrase").write_text(PASSPHRASE)
        with open(made / "expected.jsonl", "w") as file:
            for line in contents(self.repository, keys, self.scratch / "reader"):
                file.write(json.dumps(line, sort_keys=True) + "\n")
        self.folder.parent.mkdir(exist_ok=True)
        shutil.copytree(made, self.folder)

    def discard(self):
        shutil.rmtree(self.scratch)


def remove_locks(repository):
    """What a killed program left: whether it is dead can be known on its machine only."""
    for leftover in repository.glob("lock.*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def latin(value):
    """Bytes as text with one character a byte; other values as they are, lists included."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {latin(key): latin(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [latin(below) for below in value]
    return value


def contents(repository, keys, base):
    """One object for each archive and, after it, one for each item, as Borg 1.4.5 reads them."""
    os.environ.update(ENVIRONMENT, BORG_BASE_DIR=str(base))
    if keys:
        os.environ["BORG_KEY_FILE"] = str(keys[0])
    # From a copy: a reader may replay the log and write an index.
    copy = base / "repository"
    shutil.copytree(repository, copy)
    remove_locks(copy)
    with Repository(str(copy), exclusive=True) as opened:
        manifest, key = Manifest.load(opened, Manifest.NO_OPERATION_CHECK, force_tam_not_required=True)
        for information in manifest.archives.list(sort_by=["ts"]):
            helpers.workarounds = ()
            invalid = False
            try:
                archive = Archive(opened, key, manifest, information.name, consider_part_files=True)
            except ArchiveTAMInvalid:
                # What `rename` and `recreate` of releases before 1.2.5 left behind.
                helpers.workarounds = ("ignore_invalid_archive_tam",)
                archive = Archive(opened, key, manifest, information.name, consider_part_files=True)
                invalid = True
            metadata = archive.metadata.as_dict()
            yield {
                "archive": latin(information.name),
                "id": archive.id.hex(),
                "tam": "invalid" if invalid else "verified" if archive.tam_verified else "none",
                "metadata": {
                    name: latin(value) for name, value in metadata.items() if name not in ("items", "tam")
                },
            }
            for item in archive.iter_items():
                fields = {name: latin(value) for name, value in item.as_dict().items()}
                for name in ("chunks", "chunks_healthy"):
                    if item.get(name) is not None:
                        fields[name] = [[id.hex(), size, csize] for id, size, csize in item.get(name)]
                if item.get("chunks") is not None:
                    hash = hashlib.sha256()
                    for id, size, csize in item.chunks:
                        # What is lost reads as zeros.
                        with contextlib.suppress(Repository.ObjectNotFound):
                            hash.update(key.decrypt(id, opened.get(id)))
                            continue
                        hash.update(bytes(size))
                    fields["sha256"] = hash.hexdigest()
                yield fields


CASES = {}


def case(since=(1, 0), until=(9,)):
    def register(make):
        if since <= VERSION < until:
            CASES[make.__name__.replace("_", "-")] = make
        return make
    return register


def mode(name, since=(1, 0)):
    """Two archives and a deleted one, in an encryption mode."""
    def make(case):
        case.plant()
        case.init(name)
        comment = ["--comment", "of the golden data"] if VERSION >= (1, 1) else []
        case.create("first", *comment)
        case.create("doomed")
        case.change()
        case.create("second", "--compression", "zlib,6")
        case.borg("delete", f"{case.repository}::doomed")
    if VERSION >= since:
        CASES[name] = make


mode("none")
mode("repokey")
mode("keyfile")
mode("authenticated", since=(1, 1))
mode("repokey-blake2", since=(1, 1))
mode("keyfile-blake2", since=(1, 1))
mode("authenticated-blake2", since=(1, 1))


@case()
def compressions(case):
    """An archive for each compressor, each with contents of its own."""
    case.plant()
    case.init("none")
    specs = ["none", "lz4", "zlib,6", "lzma,1"]
    if VERSION >= (1, 1):
        specs += ["zstd,3", "auto,zlib,9"]
    if VERSION >= (1, 2):
        specs += ["obfuscate,2,lz4", "obfuscate,110,zstd,1"]
    if VERSION >= (1, 4):
        specs += ["obfuscate,250,none"]
    for spec in specs:
        # One text a compressor: else it would be deduplicated with the first one's.
        (case.source / "text").write_bytes((spec + "\n").encode() * 300)
        (case.source / "noise").write_bytes(noise(spec, 500))
        case.age()
        case.create(spec.replace(",", "-"), "--compression", spec)


@case()
def chunkers(case):
    """Files of many chunks, cut by every chunker."""
    case.init("none")
    (case.source / "noise").write_bytes(noise("chunkers", 20000))
    (case.source / "zeros").write_bytes(bytes(20000))
    case.age()
    case.create("buzhash", "--chunker-params", "8,12,10,63")
    if VERSION >= (1, 2):
        case.create("fixed", "--chunker-params", "fixed,4096")
        case.create("header", "--chunker-params", "fixed,4096,100")


@case()
def checkpoint(case):
    """An archive that was interrupted in the middle of a file, and a whole one after it."""
    case.init("repokey")
    (case.source / "before").write_bytes(b"complete\n")
    os.mkfifo(case.source / "stream")
    command = [
        case.program, "create", "--read-special", "--checkpoint-interval", "1",
        "--chunker-params", "8,12,10,63", f"{case.repository}::interrupted", ".",
    ]
    process = subprocess.Popen(command, **case.surroundings())
    # The other end opens when Borg does; its buffer is filled again and again.
    with open(case.source / "stream", "wb", buffering=0) as stream:
        for round in range(4):
            stream.write(noise(f"round {round}", 3000))
            time.sleep(1.1)
        process.send_signal(signal.SIGINT)
        for round in range(8):
            with contextlib.suppress(BrokenPipeError):
                stream.write(noise(f"after {round}", 3000))
            time.sleep(0.2)
    process.wait(timeout=60)
    (case.source / "stream").unlink()
    case.create("complete")


@case()
def uncommitted(case):
    """Killed while it wrote: objects after the last commit, which belong to nothing."""
    case.init("repokey")
    (case.source / "file").write_bytes(noise("committed", 2000))
    case.create("committed")
    os.mkfifo(case.source / "stream")
    command = [case.program, "create", "--read-special", "--chunker-params", "8,12,10,63",
               f"{case.repository}::killed", "."]
    process = subprocess.Popen(command, **case.surroundings())
    with open(case.source / "stream", "wb", buffering=0) as stream:
        for round in range(20):
            stream.write(noise(f"round {round}", 4000))
        time.sleep(2)
        process.kill()
        process.wait()
    shutil.rmtree(case.scratch / "home/.cache", ignore_errors=True)


@case(since=(1, 1))
def rewritten(case):
    """Renamed, commented on, recreated: archives that were not written by `create`."""
    case.plant()
    case.init("repokey-blake2")
    case.create("old name")
    case.borg("rename", f"{case.repository}::old name", "new name")
    case.create("excluded")
    case.borg("recreate", "--exclude", "noise", "--comment", "less noise", f"{case.repository}::excluded")
    case.create("recompressed")
    case.borg("recreate", "--recompress=always" if VERSION >= (1, 2) else "--always-recompress",
              "--compression", "zlib,1", f"{case.repository}::recompressed", codes=(0, 2))


@case(since=(1, 1))
def repaired(case):
    """A chunk was lost, `check --repair` put zeros in its place and remembers the chunk."""
    case.init("none")
    (case.source / "healthy").write_bytes(noise("healthy", 2000))
    (case.source / "broken").write_bytes(noise("broken", 6000))
    case.age()
    case.create("archive", "--chunker-params", "8,12,10,63")
    content = noise("broken", 6000)
    # The first chunk, wherever it was cut: one of the beginnings has an id that is there.
    stored = b"".join(path.read_bytes() for path in (case.repository / "data").rglob("*") if path.is_file())
    ids = (hashlib.sha256(content[:end]) for end in range(256, 4097))
    lost = next(id.hexdigest() for id in ids if id.digest() in stored)
    case.borg("debug", "delete-obj", case.repository, lost)
    case.borg("check", "--repair", case.repository, codes=(0, 1))


@case(since=(1, 2))
def compacted(case):
    """Deleted, compacted, and deleted again without compaction."""
    case.plant()
    case.init("repokey")
    case.create("kept")
    case.change()
    case.create("deleted")
    case.borg("delete", f"{case.repository}::deleted")
    case.borg("compact", "--threshold", "0", case.repository)
    case.create("deleted again")
    case.create("last")
    case.borg("delete", f"{case.repository}::deleted again")


@case(since=(1, 1))
def segments(case):
    """Many small segment files in several directories."""
    case.plant()
    case.init("none")
    for name, value in [("segments_per_dir", "3"), ("max_segment_size", "2000")]:
        configuration = (case.repository / "config").read_text().splitlines()
        configuration = [f"{name} = {value}" if line.startswith(name) else line for line in configuration]
        (case.repository / "config").write_text("\n".join(configuration) + "\n")
    case.create("first")
    case.change()
    case.create("second")
    case.borg("delete", f"{case.repository}::first")


@case(since=(1, 1))
def append_only(case):
    """Deletes and never forgets: the `transactions` log and all old segments are there."""
    case.plant()
    case.init("repokey", "--append-only")
    case.create("first")
    case.change()
    case.create("second")
    case.borg("delete", f"{case.repository}::first")


@case(since=(1, 1))
def no_passphrase(case):
    """Encrypted with an empty passphrase, which counts as not encrypted."""
    global PASSPHRASE
    whole, PASSPHRASE = PASSPHRASE, ""
    ENVIRONMENT["BORG_PASSPHRASE"] = ""
    case.plant()
    case.init("repokey")
    case.create("first")
    case.keep()
    PASSPHRASE = ENVIRONMENT["BORG_PASSPHRASE"] = whole


@case(since=(1, 4))
def quota(case):
    """With a quota, and what is used of it in the hints."""
    case.plant()
    case.init("none", "--storage-quota", "1G")
    case.create("first")


def main():
    wanted = sys.argv[2:] or CASES
    os.umask(0o077)
    # Archives say on which machine they were made; as root it is nobody's.
    if os.geteuid() == 0:
        new_uts_namespace = 0x04000000
        if ctypes.CDLL(None).unshare(new_uts_namespace) == 0:
            socket.sethostname("golden")
    setup_logging()
    for name in wanted:
        golden = Case(name)
        if golden.folder.exists():
            print(f"{golden.folder} is there")
        else:
            CASES[name](golden)
            if not golden.folder.exists():
                golden.keep()
            print(f"{golden.folder} made")
        golden.discard()


main()
