"""Prints as JSON what stock Borg writes, for ours to read."""

COMPRESSIONS = [
    "none", "lz4", "zstd,1", "zstd,9", "zlib,0", "zlib,6", "lzma,0", "lzma,9",
    "auto,zstd", "auto,lzma,3", "obfuscate,1,zstd", "obfuscate,110,auto,zlib", "obfuscate,250,none",
]

noise = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(1000))
text = b"".join(b"line %d of a text that can be compressed\n" % (i * i % 97) for i in range(2000))
plains = [b"x", bytes(100), text, noise, bytes(300000)]


def objects(key):
    for compression in COMPRESSIONS:
        key.compressor = CompressionSpec(compression).compressor
        for plain in plains:
            yield {
                "compression": compression,
                "plain": plain.hex(),
                "id": key.id_hash(plain).hex(),
                "stored": key.encrypt(plain).hex(),
            }


def archive(**more):
    meta = dict(
        version=1, name="näme\udcff", comment="", items=[b"i" * 32, b"j" * 32],
        cmdline=["borg", "create", "ö"], hostname="höst", username="user",
        time="2026-01-02T03:04:05.678901", time_end="2026-01-02T03:04:06.000000",
        chunker_params=("buzhash", 19, 23, 21, 4095),
    )
    meta.update(more)
    return {key: value for key, value in meta.items() if value is not None}


ARCHIVES = [
    archive(size=1, csize=2**40, nfiles=3, size_parts=0, csize_parts=0, nfiles_parts=0, cwd="/home"),
    archive(chunker_params=(19, 23, 21, 4095), time="2015-01-02T03:04:05", time_end=None),
    archive(chunker_params=("fixed", 4096, 512), recreate_cmdline=["borg", "recreate"], items=[]),
    archive(recreate_source_id=b"s" * 32, hostname=None, username=None, chunker_params=None),
]


def pack_archive(key, meta, salt):
    return key.pack_and_authenticate_metadata(ArchiveItem(meta).as_dict(), context=b"archive", salt=salt)


def items():
    base = dict(path="a/b", mode=0o100644, uid=1000, gid=1000, user="ada", group=None, mtime=10**18)
    chunk = ChunkListEntry(b"c" * 32, 100, 70000)
    for more in [
        {},
        dict(path="odd\udcff\n\u20ac", user="\udcfe", source="../x\udcff", mode=0o120777),
        dict(chunks=[], size=0, hardlink_master=False),
        dict(chunks=[chunk] * 70000, size=2**40, hardlink_master=True),
        dict(chunks=[chunk], chunks_healthy=[chunk, chunk], part=7),
        dict(mode=0o20666, rdev=259, uid=2**32 - 2, gid=0, ctime=0, atime=1, birthtime=2**31),
        dict(acl_access=b"user::rw-\ngroup::r--\nother::r--", acl_default=b"", bsdflags=7, ctime=5,
             atime=6, chunks=[chunk], size=100, hardlink_master=True,
             xattrs=StableDict({b"user.\xff": None, b"user.a": b"v" * 70000, b"b": b"\0"})),
        dict(acl_nfs4=b"everyone", acl_extended=b"x"),
    ]:
        yield Item({**base, **more}).as_dict()


def big_times():
    """Times beyond 64 bits, as Borg 1.0 has written them."""
    for mtime in [2**63, -(2**63) - 1, 2**80, -5, -1]:
        item = Item(path="t", mode=0o100644)
        item.mtime = mtime
        yield {"packed": msgpack.packb(item.as_dict()).hex(), "mtime": str(mtime)}


result = {}
for mode in MODES:
    key, blob = new_key(mode)
    manifest = Manifest(key, key.repository)
    manifest.archives["näme\udcff"] = (b"i" * 32, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc))
    manifest.archives["b"] = (b"j" * 32, datetime(2016, 1, 2, tzinfo=timezone.utc))
    manifest.config[b"more"] = StableDict({b"b": [1, 2], b"a": None})
    key.compressor = CompressionSpec("lz4").compressor
    manifest.write()
    stored = key.repository.get(Manifest.MANIFEST_ID)
    result[mode] = {
        "blob": blob,
        "chunk_seed": key.chunk_seed & 0xFFFFFFFF,
        "objects": list(objects(key)),
        "stored_manifest": stored.hex(),
        "manifest": key.decrypt(None, stored).hex(),
        "archives": [pack_archive(key, meta, b"s" * 64).hex() for meta in ARCHIVES],
    }
result["items"] = [msgpack.packb(item).hex() for item in items()]
result["big_times"] = list(big_times())
print(json.dumps(result))
