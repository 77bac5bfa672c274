//! Whatever bytes come, reading them neither panics nor takes much memory.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use borg::{
    Archive, Buffer, Decompressor, Encryption, Id, Item, ItemReader, Key, Manifest, Opener,
    Passphrase, Sealed, SystemRandom,
};
use testkit::Random;

/// Most memory that reading anything may take at once.
const MEMORY_MAX: usize = 64 << 20;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Some of it may have come from another thread.
        let _ = LIVE.try_with(|live| live.set(live.get().saturating_sub(layout.size())));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }
}

fn count(size: usize) {
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + size);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

/// The most memory that `work` holds at once, beyond what was held before.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    work();
    PEAK.get() - before
}

fn key(encryption: Encryption) -> Key {
    Key::generate(encryption, Id([1; 32]), &mut SystemRandom).unwrap()
}

/// Gives the bytes to everything that reads bytes.
fn read_all_ways(key: &Key, bytes: &[u8]) {
    let _ = Item::read(bytes);
    let _ = Archive::open(key, bytes, false);
    let _ = Manifest::open(key, bytes, false);
    {
        let mut reader = ItemReader::new();
        for chunk in bytes.chunks(1 << 19) {
            reader.push(chunk);
            while let Ok(Some(_)) = reader.next_item() {}
        }
    }
    let mut decompressor = Decompressor::new().unwrap();
    let _ = decompressor.decompress(bytes, None, &mut Buffer::new());
    for key in [&Key::plaintext(Id([1; 32])), key] {
        let sealed = Sealed {
            id: Id::MANIFEST,
            stored: bytes,
            size_hint: None,
        };
        let _ = key.open(sealed, &mut Opener::new().unwrap(), &mut Buffer::new());
    }
    let text = String::from_utf8_lossy(bytes.get(..100_000).unwrap_or(bytes));
    let _ = Key::from_blob(Encryption::Repokey, &text, &Passphrase::default(), true);
}

#[test]
fn noise_is_refused() {
    let key = key(Encryption::RepokeyBlake2);
    let mut random = Random::new(77);
    for _ in 0..3000 {
        let length = random.index(400);
        let mut bytes = random.noise(length);
        // Often something that begins well.
        match random.below(6) {
            0 => bytes.splice(..0, [0x02, 0x03, 0x00]).count(),
            1 => bytes.splice(..0, [0x02, 0x01, 0x00]).count(),
            2 => bytes
                .splice(..0, *b"\x83\xa7version\x01\xa4path\xa1x\xa6chunks\xdc")
                .count(),
            3 => bytes
                .splice(..0, *b"\x83\xa7version\x01\xa5items\xdd\0\0")
                .count(),
            4 => bytes.splice(..0, *b"\x83\xa8archives\xdf\0\0\0").count(),
            _ => 0,
        };
        let peak = peak_of(|| read_all_ways(&key, &bytes));
        assert!(peak < MEMORY_MAX, "{peak} bytes for {bytes:02x?}");
    }
}

/// Structures that could be made to take many times their size, as large as an object can be.
#[test]
fn large_structures_of_small_values_take_bounded_memory() {
    let key = key(Encryption::RepokeyBlake2);
    let size = 20 << 20;
    let length = |count: usize| u32::try_from(count).unwrap().to_be_bytes();
    let array = |key: &[u8], value: &[u8]| {
        let count = size / value.len();
        [b"\x81", key, b"\xdd", &length(count), &value.repeat(count)].concat()
    };
    let map = |key: &[u8]| {
        let count = size / 6;
        let entries = (0..count).flat_map(|index| {
            let [a, b, c, d] = length(index);
            [0xa4, a, b, c, d, 0xc0]
        });
        let mut bytes = [b"\x81", key, b"\xdf", &length(count)].concat();
        bytes.extend(entries);
        bytes
    };
    for (name, bytes) in [
        ("chunks", array(b"\xa6chunks", b"\x90")),
        ("items", array(b"\xa5items", b"\xa0")),
        ("cmdline", array(b"\xa7cmdline", b"\xa0")),
        ("item_keys", array(b"\xa9item_keys", b"\xa1x")),
        ("unknown", array(b"\xa1u", b"\xc0")),
        ("xattrs", map(b"\xa6xattrs")),
        ("archives", map(b"\xa8archives")),
        ("config", map(b"\xa6config")),
        ("unknown map", map(b"\xa1u")),
        ("unknown keys", map(b"")[1..].to_vec()),
        ("nested", vec![0x91; size]),
        ("nils", vec![0xc0; size]),
    ] {
        let stored = [&[0x02, 0, 0], &*bytes].concat();
        for bytes in [bytes, stored] {
            let peak = peak_of(|| read_all_ways(&key, &bytes));
            assert!(peak < MEMORY_MAX, "{name}: {peak} bytes");
        }
    }
}
