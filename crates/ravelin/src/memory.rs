//! How memory is asked for and given back.

/// Blocks of this size and more are mapped, and given back as soon as they are free: Borg's chunks.
/// Below it are the pieces of duplicity's volumes, which come and go so fast that to map each took a
/// tenth of a backup's time.
#[cfg(target_env = "gnu")]
const MAPPED_SIZE: i32 = 512 << 10;

/// So much that is free is kept in each heap for what is below that size.
#[cfg(target_env = "gnu")]
const KEPT_SIZE: i32 = 4 << 20;

/// Makes large blocks go back to the system at once.
///
/// Left alone, the C library keeps what was freed in the hope of the next block of that size. With
/// chunks of half a megabyte to eight, on several threads, it keeps twice of what is in use.
pub(crate) fn give_back_at_once() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "a setting of the allocator, made before any thread is started"
    )]
    // SAFETY: `mallopt` takes two numbers each time and touches nothing but the allocator's own settings.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_SIZE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_SIZE);
    }
}
