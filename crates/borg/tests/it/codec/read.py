"""Reads what ours has written, and says what is wrong with it."""

with open(sys.argv[1]) as file:
    ours = json.load(file)

for mode, written in ours["modes"].items():
    key = load_key(mode, written["blob"])
    assert key.TYPE == written["type"], mode
    if mode != "none":
        assert key.repository_id == REPOSITORY_ID and key.tam_required is True
        assert key.chunk_seed & 0xFFFFFFFF == written["chunk_seed"]
    for written_object in written["objects"]:
        plain = bytes.fromhex(written_object["plain"])
        id = bytes.fromhex(written_object["id"])
        assert key.id_hash(plain) == id, (mode, written_object["compression"])
        stored = bytes.fromhex(written_object["stored"])
        assert key.decrypt(id, stored) == plain, (mode, written_object["compression"])

    packed = bytes.fromhex(written["manifest"])
    unpacked, verified = key.unpack_and_verify_manifest(packed)
    assert verified
    salt = packed[packed.index(b"\xa4salt") + 8:][:64]
    named = {key.decode(): value for key, value in unpacked.items()}
    assert key.pack_and_authenticate_metadata(named, salt=salt) == packed, mode
    key.repository.put(Manifest.MANIFEST_ID, bytes.fromhex(written["stored_manifest"]))
    manifest, _ = Manifest.load(key.repository, list(Manifest.Operation), key=key)
    assert sorted(manifest.archives) == ["eins", "zw\udcffei"]
    assert manifest.archives["eins"].ts == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)

    packed = bytes.fromhex(written["archive"])
    unpacked, verified, salt = key.unpack_and_verify_archive(packed)
    assert verified
    meta = ArchiveItem(internal_dict=unpacked)
    again = key.pack_and_authenticate_metadata(meta.as_dict(), context=b"archive", salt=salt)
    assert again == packed, mode
    assert meta.name == "zw\udcffei" and meta.nfiles == 3 and len(meta.items) == 2
    assert tuple(meta.chunker_params) == ("buzhash", 19, 23, 21, 4095)

stream = bytes.fromhex(ours["items"])
unpacker = msgpack.Unpacker(object_hook=StableDict)
unpacker.feed(stream)
items = [Item(internal_dict=unpacked) for unpacked in unpacker]
assert b"".join(msgpack.packb(item.as_dict()) for item in items) == stream
assert len(items) == ours["item_count"]
assert items[0].path == "f\udcff" and items[0].mtime == 5 and items[0].get_size() == 300

for accepted, parse, texts in [
    (ours["compressions"], CompressionSpec, "compressions"),
    (ours["chunker_params"], ChunkerParams, "chunker_params"),
]:
    for text, ours_accepts in accepted.items():
        try:
            parse(text)
        except Exception:
            stock_accepts = False
        else:
            stock_accepts = True
        assert stock_accepts == ours_accepts, (texts, text)
