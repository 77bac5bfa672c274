//! Ctrl-C: the first asks for a tidy end, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use engine::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// Turns signals into a request to stop.
///
/// A second signal ends the process on the spot, by the signal handler itself: a thread that hangs
/// in a dead network mount could not do it.
pub(crate) fn listen() -> io::Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let impatient = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Registered before the thread that sets the flag, so that the first signal passes.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            Exit::Interrupted.number().into(),
            Arc::clone(&impatient),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&impatient))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let asked = Arc::clone(&stop);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                asked.request();
            }
        })?;
    if impatient.load(Ordering::Relaxed) {
        stop.request();
    }
    Ok(stop)
}
