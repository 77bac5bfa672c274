//! How fast one thread hashes, seals, opens and cuts: bytes a second of its own processor time,
//! best of several rounds, so that a busy machine disturbs it little.
//!
//! `cargo run --release -p ravelin-borg --example codec_speed`

#![expect(clippy::print_stdout, reason = "it is a program")]
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on may say where"
)]

use std::hint::black_box;
use std::time::Duration;

use ravelin_borg::{
    Buffer, Chunker, ChunkerParams, Compression, Compressor, Encryption, Fetched, Id, Key, Object,
    Opener, Random, Sealed, SystemRandom,
};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 6;

fn main() {
    let noise = noise(64 << 20);
    let text = text(64 << 20);
    println!("{:44} {:>7} {:>7}", "GB/s of thread time", "noise", "text");
    for (name, params) in [
        ("cut, default parameters", "default"),
        ("cut, 12,20,16,4095", "12,20,16,4095"),
        ("cut, 12,20,16,8191", "12,20,16,8191"),
    ] {
        let params: ChunkerParams = params.parse().unwrap();
        line(name, [&noise, &text], |data| {
            black_box(Chunker::new(params, 7).cuts(data).len());
        });
        line(&format!("{name}, stream"), [&noise, &text], |data| {
            let mut chunker = Chunker::new(params, 7);
            for block in data.chunks(1 << 20) {
                chunker.push(block, &mut |chunk| drop(black_box(chunk)));
            }
            chunker.finish(&mut |_| {});
        });
    }
    for encryption in [
        Encryption::None,
        Encryption::Repokey,
        Encryption::RepokeyBlake2,
    ] {
        let key = Key::generate(encryption, Id([1; 32]), &mut SystemRandom).unwrap();
        for size in [4 << 10, 2 << 20] {
            measure_key(&key, size, [&noise, &text]);
        }
    }
}

fn measure_key(key: &Key, size: usize, inputs: [&[u8]; 2]) {
    let what = format!("{}, {} KiB", key.encryption(), size >> 10);
    line(&format!("{what}: ids, one by one"), inputs, |data| {
        for chunk in data.chunks(size) {
            black_box(key.id_hash(chunk));
        }
    });
    let at_once = if size > 1 << 20 { 4 } else { 64 };
    line(&format!("{what}: ids, {at_once} at once"), inputs, |data| {
        for batch in data.chunks(size * at_once) {
            black_box(key.id_hash_many(batch.chunks(size)));
        }
    });
    for compression in ["none", "lz4"] {
        let compression: Compression = compression.parse().unwrap();
        let mut compressor = Compressor::new(&compression, SystemRandom).unwrap();
        let mut objects: Vec<Object> = (0..at_once).map(|_| Object::new()).collect();
        line(&format!("{what}: pack {compression}"), inputs, |data| {
            for chunk in data.chunks(size) {
                key.pack(chunk, &mut compressor, &mut objects[0]).unwrap();
            }
        });
        line(
            &format!("{what}: pack {compression} and seal"),
            inputs,
            |data| {
                for batch in data.chunks(size * at_once) {
                    for (chunk, object) in batch.chunks(size).zip(&mut objects) {
                        key.pack(chunk, &mut compressor, object).unwrap();
                    }
                    key.seal_many(&mut objects, 7);
                }
            },
        );
        let mut opener = Opener::new().unwrap();
        let mut plain = Buffer::new();
        let sealed: Vec<Vec<(Id, Vec<u8>)>> = inputs
            .iter()
            .map(|data| {
                data.chunks(size)
                    .map(|chunk| {
                        key.pack(chunk, &mut compressor, &mut objects[0]).unwrap();
                        key.seal(&mut objects[0], 9);
                        (key.id_hash(chunk), objects[0].stored().to_vec())
                    })
                    .collect()
            })
            .collect();
        let of = |data: &[u8]| {
            let index = usize::from(data.as_ptr() != inputs[0].as_ptr());
            let objects = sealed[index].iter();
            objects.map(move |(id, stored)| Sealed {
                id: *id,
                stored,
                size_hint: Some(size),
            })
        };
        line(
            &format!("{what}: open {compression}, one by one"),
            inputs,
            |data| {
                for sealed in of(data) {
                    key.open(sealed, &mut opener, &mut plain).unwrap();
                }
            },
        );
        line(
            &format!("{what}: open {compression}, {at_once} at once"),
            inputs,
            |data| {
                let sealed: Vec<Sealed<'_>> = of(data).collect();
                for batch in sealed.chunks(at_once) {
                    // Objects are decrypted in place: each round needs them as they were read.
                    let mut read: Vec<_> = batch.iter().map(|it| it.stored.to_vec()).collect();
                    let mut fetched: Vec<Fetched<'_>> = batch
                        .iter()
                        .zip(&mut read)
                        .map(|(sealed, stored)| Fetched {
                            id: sealed.id,
                            stored,
                            size_hint: sealed.size_hint,
                        })
                        .collect();
                    key.open_many(&mut fetched, &mut opener, |_, it| assert!(it.is_ok()));
                }
                key.open_many(&mut [], &mut opener, |_, it| assert!(it.is_ok()));
            },
        );
    }
}

fn line(name: &str, inputs: [&[u8]; 2], mut work: impl FnMut(&[u8])) {
    let speeds = inputs.map(|data| {
        let best = (0..ROUNDS).map(|_| {
            let start = thread_time();
            work(black_box(data));
            thread_time() - start
        });
        data.len() as f64 / best.min().unwrap().as_secs_f64() / 1e9
    });
    println!("{name:44} {:7.2} {:7.2}", speeds[0], speeds[1]);
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    SystemRandom.fill(&mut noise).unwrap();
    noise
}

/// Words drawn at random from a thousand.
fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 16);
    let mut number = 1u64;
    while text.len() < length {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let word = (number >> 33) % 1000;
        text.extend_from_slice(format!("{:x}{} ", word * word * 77, word).as_bytes());
    }
    text.truncate(length);
    text
}
