//! Waiting for conditions.

use std::time::{Duration, Instant};

/// Far longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub fn wait_for(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "in vain");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether a process with this pid exists and is not a zombie.
pub fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid)).map_or(false, |stat| !stat.contains(") Z "))
}
