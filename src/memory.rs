//! Gives memory back to the system: large buffers at once, and the rest after a storm of requests.
//!
//! The requests of ten thousand connecting clients need tens of kilobytes each for a moment; glibc
//! keeps what they leave behind in pieces between what lives on. Must not know: what the memory
//! was for.

use std::time::Duration;

/// How often it looks whether a storm is over.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Arrivals that leave enough behind to be worth it.
const STORM_ARRIVALS_MIN: usize = 256;

/// Buffers from this size on, in bytes, are the system's again as soon as they are free.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const APART_BYTES_MIN: libc::c_int = 128 * 1024;

/// Has large buffers, such as bodies, kept apart from the heap. glibc does so at first, and after the first one that
/// is freed no longer: then the bodies of many polls at once stay as holes in the heap, many times what is held.
pub fn keep_large_apart() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers, and this parameter may be set at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, APART_BYTES_MIN);
    }
}

/// Runs for ever: after each storm, once arrivals have calmed down, the heap is trimmed.
/// `arrivals`: clients that have come so far.
pub async fn give_back_after_storms(arrivals: impl Fn() -> usize) {
    let (mut trimmed, mut last) = (0, 0);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = arrivals();
        let (since, fresh) = (now.wrapping_sub(trimmed), now.wrapping_sub(last));
        last = now;
        if since >= STORM_ARRIVALS_MIN && fresh < STORM_ARRIVALS_MIN / 8 {
            trimmed = now;
            // Off the runtime's threads: it takes milliseconds for each hundred megabytes.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim has no preconditions and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
