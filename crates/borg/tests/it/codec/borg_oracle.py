"""What the tests of the codec need of stock Borg: a key without a repository around it."""

import hashlib
import json
import os
import sys
from datetime import datetime, timezone

from borg.archive import Manifest
from borg.compress import CompressionSpec
from borg.crypto import key as keys
from borg.helpers import ChunkerParams, StableDict, msgpack
from borg.item import ArchiveItem, ChunkListEntry, Item
from borg.logger import setup_logging

setup_logging()

PASSPHRASE = "pässword"
REPOSITORY_ID = bytes(range(32))
MODES = {cls.ARG_NAME: cls for cls in keys.AVAILABLE_KEY_TYPES if cls.ARG_NAME}


class Location:
    def canonical_path(self):
        return "/nowhere"


class Repository:
    """Holds a manifest, and forgets reservations."""

    id = REPOSITORY_ID
    id_str = REPOSITORY_ID.hex()
    _location = Location()

    def __init__(self):
        self.nonce = None
        self.objects = {}

    def get_free_nonce(self):
        return self.nonce

    def commit_nonce_reservation(self, next_unreserved, start_nonce):
        assert self.nonce == start_nonce
        self.nonce = next_unreserved

    def put(self, id, data):
        self.objects[id] = data

    def get(self, id):
        return self.objects[id]


def forget_local_nonce(repository):
    """The same repository id is used for all modes; each is a repository of its own."""
    path = os.path.join(keys.get_security_dir(repository.id_str), "nonce")
    if os.path.exists(path):
        os.remove(path)


def new_key(mode):
    repository = Repository()
    forget_local_nonce(repository)
    key = MODES[mode](repository)
    blob = None
    if mode != "none":
        key.repository_id = repository.id
        key.init_from_random_data()
        key.init_ciphers()
        blob = key._save(keys.Passphrase(PASSPHRASE))
    return key, blob


def load_key(mode, blob):
    repository = Repository()
    forget_local_nonce(repository)
    key = MODES[mode](repository)
    if mode != "none":
        assert not key._load(blob, keys.Passphrase("wrong"))
        assert key._load(blob, keys.Passphrase(PASSPHRASE))
        key.init_ciphers()
    return key
