//! The rolling hash for processors with AVX-512 VBMI, 64 bytes at a time.
//!
//! For windows of 4095 bytes only, which is what everybody uses. The content is taken in regions
//! of 4096 bytes, as 64 lanes of 64 bytes each: the end of the window at byte `t` of a lane is
//! byte `t - 1` of the same lane in the next region. The region is transposed, so that a vector
//! holds byte `t` of all lanes.
//!
//! - **Look up.** A number is four bytes, kept as four planes; a table of 256 bytes fits four
//!   registers, and two instructions look up 64 bytes in it. All lanes are rotated by the same
//!   `t mod 32`: by whole bytes through a change of planes, by the rest through eight tables
//!   that are rotated beforehand.
//! - **Prefixes** are made in each lane as if it were the first; what all lanes before it add is
//!   known when the region is done, and is mixed in by the test.
//! - **Test.** A place is a cut where the masked prefixes of both ends of the window agree in
//!   all four planes.
//!
//! Every result is compared with the portable form's in the tests.

#![expect(
    unsafe_code,
    reason = "instructions that not every processor has, and their loads and stores"
)]

use std::arch::x86_64::{
    __m512i, __mmask64, _mm512_load_si512, _mm512_loadu_si512, _mm512_mask_blend_epi8,
    _mm512_maskz_permutexvar_epi8, _mm512_movepi8_mask, _mm512_permutex2var_epi8, _mm512_set1_epi8,
    _mm512_setzero_si512, _mm512_store_si512, _mm512_ternarylogic_epi32, _mm512_testn_epi8_mask,
    _mm512_xor_si512,
};

use super::buzhash::rotation;

/// The window that the lanes are laid out for.
pub(super) const WINDOW: usize = 4095;

/// Bytes in a vector; lanes in a region, and bytes in a lane.
const WIDTH: usize = 64;

/// Bytes of a region.
pub(super) const REGION: usize = WIDTH * WIDTH;

/// Bytes of a number.
const PLANES: usize = 4;

/// Rotations within a byte.
const ROTATIONS: usize = 8;

/// Registers that a table of 256 bytes takes.
const QUARTERS: usize = 4;

/// `a ^ b ^ c` and `a | (b & c)` as `vpternlog` wants them.
const XOR3: i32 = 0x96;
const OR_AND: i32 = 0xf8;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Vector([u8; WIDTH]);

const ZERO: Vector = Vector([0; WIDTH]);

/// What is kept of a region until the next one is there.
struct Region {
    /// By place in the lane, by plane: the prefix before that place, from the lane's beginning.
    prefixes: [[Vector; PLANES]; WIDTH],
    /// By plane: the prefix before the lane, from the beginning of the content.
    before_lane: [Vector; PLANES],
    /// By plane: the number of the last byte of the lane.
    last_number: [Vector; PLANES],
}

/// The tables of one repository, and memory to work in.
pub(super) struct Vbmi {
    /// By rotation, plane and quarter.
    tables: Box<[[[Vector; QUARTERS]; PLANES]; ROTATIONS]>,
    /// By place in the lane, by plane: the mask of the test there.
    masks: [[u8; PLANES]; WIDTH],
    regions: Box<[Region; 2]>,
    transposed: Box<[Vector; WIDTH]>,
}

impl Vbmi {
    /// `None` when the processor cannot do it.
    pub(super) fn new(table: &[u32; 256], mask: u32) -> Option<Self> {
        if !(is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi"))
        {
            return None;
        }
        let mut tables = Box::new([[[ZERO; QUARTERS]; PLANES]; ROTATIONS]);
        for (rotation, planes) in (0..).zip(tables.iter_mut()) {
            for (byte, number) in table.iter().enumerate() {
                let bytes = number.rotate_right(rotation).to_le_bytes();
                for (plane, byte_of_plane) in planes.iter_mut().zip(bytes) {
                    plane[byte / WIDTH].0[byte % WIDTH] = byte_of_plane;
                }
            }
        }
        let masks = std::array::from_fn(|place| {
            mask.rotate_right(rotation(place + WINDOW - 1))
                .to_le_bytes()
        });
        let region = || Region {
            prefixes: [[ZERO; PLANES]; WIDTH],
            before_lane: [ZERO; PLANES],
            last_number: [ZERO; PLANES],
        };
        Some(Self {
            tables,
            masks,
            regions: Box::new([region(), region()]),
            transposed: Box::new([ZERO; WIDTH]),
        })
    }

    /// Looks at the places of `bytes` in all regions but the last whole one: gives the first cut,
    /// or else how many places were looked at.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        // SAFETY: `new` made sure that the processor has all that it takes.
        unsafe { self.find_in_regions(bytes) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn find_in_regions(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let (regions, _) = bytes.as_chunks::<REGION>();
        let Some((first, rest)) = regions.split_first() else {
            return Err(0);
        };
        let [older, newer] = &mut *self.regions;
        let (mut older, mut newer) = (older, newer);
        let mut carry = [0; PLANES];
        transpose(first, &mut self.transposed);
        look_up(&self.tables, &self.transposed, older, &mut carry);
        for (index, region) in rest.iter().enumerate() {
            transpose(region, &mut self.transposed);
            look_up(&self.tables, &self.transposed, newer, &mut carry);
            if let Some(place) = test(older, newer, &self.masks) {
                return Ok(index * REGION + place);
            }
            std::mem::swap(&mut older, &mut newer);
        }
        Err(rest.len() * REGION)
    }
}

/// Makes the prefixes of a region. `carry` is the prefix before it, and then behind it.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up(
    tables: &[[[Vector; QUARTERS]; PLANES]; ROTATIONS],
    transposed: &[Vector; WIDTH],
    region: &mut Region,
    carry: &mut [u8; PLANES],
) {
    let mut prefix = [_mm512_setzero_si512(); PLANES];
    let (cycles, _) = transposed.as_chunks::<ROTATIONS>();
    let (prefixes, _) = region.prefixes.as_chunks_mut::<ROTATIONS>();
    for (turn, (bytes, prefixes)) in cycles.iter().zip(prefixes).enumerate() {
        for rotation in 0..ROTATIONS {
            let byte = load(&bytes[rotation]);
            let upper = _mm512_movepi8_mask(byte);
            for plane in 0..PLANES {
                // Each turn of eight places moves the planes on by one.
                let table = &tables[rotation][(plane + turn) % PLANES];
                let low = _mm512_permutex2var_epi8(load(&table[0]), byte, load(&table[1]));
                let high = _mm512_permutex2var_epi8(load(&table[2]), byte, load(&table[3]));
                let number = _mm512_mask_blend_epi8(upper, low, high);
                store(&mut prefixes[rotation][plane], prefix[plane]);
                prefix[plane] = _mm512_xor_si512(prefix[plane], number);
            }
        }
    }
    for plane in 0..PLANES {
        let last = load(&region.prefixes[WIDTH - 1][plane]);
        store(
            &mut region.last_number[plane],
            _mm512_xor_si512(prefix[plane], last),
        );
        // What all lanes up to this one add: the exclusive or of ever more of them.
        let mut sum = prefix[plane];
        for distance in [1, 2, 4, 8, 16, 32] {
            sum = _mm512_xor_si512(sum, shifted(sum, distance));
        }
        let before = _mm512_set1_epi8(carry[plane].cast_signed());
        let before_lane = _mm512_xor_si512(shifted(sum, 1), before);
        store(&mut region.before_lane[plane], before_lane);
        carry[plane] ^= last_byte(sum);
    }
}

/// The first place of the older region that is a cut.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn test(older: &Region, newer: &Region, masks: &[[u8; PLANES]; WIDTH]) -> Option<usize> {
    let mut between = [_mm512_setzero_si512(); PLANES];
    for (plane, between) in between.iter_mut().enumerate() {
        let (older, newer) = (&older.before_lane[plane], &newer.before_lane[plane]);
        *between = _mm512_xor_si512(load(older), load(newer));
    }
    // The window of a lane's first place ends before the last byte of the lane before it.
    let mut differs = _mm512_setzero_si512();
    for plane in 0..PLANES {
        let last = load(&newer.last_number[plane]);
        let first = older.last_number[plane].0[WIDTH - 1].cast_signed();
        let first = _mm512_set1_epi8(first);
        let last = _mm512_mask_blend_epi8(1, shifted(last, 1), first);
        let difference = _mm512_xor_si512(between[plane], last);
        let mask = _mm512_set1_epi8(masks[0][plane].cast_signed());
        differs = _mm512_ternarylogic_epi32::<OR_AND>(differs, difference, mask);
    }
    let mut found = first_place(_mm512_testn_epi8_mask(differs, differs), 0);
    for (place, masks) in masks.iter().enumerate().skip(1) {
        let mut differs = _mm512_setzero_si512();
        for plane in 0..PLANES {
            let difference = _mm512_ternarylogic_epi32::<XOR3>(
                load(&older.prefixes[place][plane]),
                load(&newer.prefixes[place - 1][plane]),
                between[plane],
            );
            let mask = _mm512_set1_epi8(masks[plane].cast_signed());
            differs = _mm512_ternarylogic_epi32::<OR_AND>(differs, difference, mask);
        }
        let cuts = _mm512_testn_epi8_mask(differs, differs);
        if cuts != 0 {
            found = found.min(first_place(cuts, place));
        }
    }
    (found < REGION).then_some(found)
}

/// The first of the lanes in `cuts`, at this place of it; [`REGION`] or more if there is none.
fn first_place(cuts: __mmask64, place: usize) -> usize {
    cuts.trailing_zeros() as usize * WIDTH + place
}

/// Turns 64 lanes of 64 bytes into 64 vectors of the bytes at one place.
///
/// An interleaving of the upper and the lower half of the rows is a rotation of the twelve bits
/// of a byte's address by one; after six of them row and column have changed places.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn transpose(region: &[u8; REGION], out: &mut [Vector; WIDTH]) {
    let mut half = [ZERO; WIDTH];
    let (rows, _) = region.as_chunks::<WIDTH>();
    for group in 0..8 {
        let mut rows: [__m512i; 8] = std::array::from_fn(|k| load_unaligned(&rows[group + 8 * k]));
        interleave_thrice(&mut rows);
        for (k, row) in rows.into_iter().enumerate() {
            store(&mut half[8 * group + k], row);
        }
    }
    for group in 0..8 {
        let mut rows: [__m512i; 8] = std::array::from_fn(|k| load(&half[group + 8 * k]));
        interleave_thrice(&mut rows);
        for (k, row) in rows.into_iter().enumerate() {
            store(&mut out[8 * group + k], row);
        }
    }
}

/// Three of the six interleavings, of eight rows that have only each other to do with.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn interleave_thrice(rows: &mut [__m512i; 8]) {
    const LOWER: Vector = interleaving(0);
    const UPPER: Vector = interleaving(WIDTH / 2);
    let (lower, upper) = (load(&LOWER), load(&UPPER));
    for _ in 0..3 {
        let mut next = *rows;
        for k in 0..4 {
            next[2 * k] = _mm512_permutex2var_epi8(rows[k], lower, rows[k + 4]);
            next[2 * k + 1] = _mm512_permutex2var_epi8(rows[k], upper, rows[k + 4]);
        }
        *rows = next;
    }
}

/// Bytes from `start` on of one vector and another in turn.
#[expect(clippy::cast_possible_truncation, reason = "indices below 128")]
const fn interleaving(start: usize) -> Vector {
    let mut indices = ZERO;
    let mut k = 0;
    while k < WIDTH / 2 {
        indices.0[2 * k] = (start + k) as u8;
        indices.0[2 * k + 1] = (WIDTH + start + k) as u8;
        k += 1;
    }
    indices
}

/// Each lane gets what stands `distance` lanes before it; the first ones zero.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn shifted(vector: __m512i, distance: usize) -> __m512i {
    let indices = Vector(std::array::from_fn(|lane| {
        lane.wrapping_sub(distance).to_le_bytes()[0]
    }));
    _mm512_maskz_permutexvar_epi8(u64::MAX << distance, load(&indices), vector)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn last_byte(vector: __m512i) -> u8 {
    let mut bytes = ZERO;
    store(&mut bytes, vector);
    bytes.0[WIDTH - 1]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn load(vector: &Vector) -> __m512i {
    // SAFETY: 64 bytes that can be read, aligned as their type says.
    unsafe { _mm512_load_si512((&raw const vector.0).cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn load_unaligned(bytes: &[u8; WIDTH]) -> __m512i {
    // SAFETY: 64 bytes that can be read; no alignment is asked for.
    unsafe { _mm512_loadu_si512((&raw const *bytes).cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn store(place: &mut Vector, vector: __m512i) {
    // SAFETY: 64 bytes that can be written, aligned as their type says.
    unsafe { _mm512_store_si512((&raw mut place.0).cast(), vector) }
}
