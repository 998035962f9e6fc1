//! `flood BYTES [FD]`: writes a known pattern as fast as it can. Byte i is (i * 7 + i / 256) mod 251.

use std::io::Write;
use std::os::unix::io::FromRawFd;

/// The pattern repeats after 256 * 251 bytes.
const PERIOD: usize = 256 * 251;
const CHUNK: usize = PERIOD * 4;

fn main() {
    let mut args = std::env::args().skip(1);
    let total: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let fd: i32 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let pattern: Vec<u8> = (0..CHUNK).map(|i| ((i * 7 + i / 256) % 251) as u8).collect();
    // SAFETY: the caller opened the descriptor for this program, and nothing else here uses it.
    let mut out = unsafe { std::fs::File::from_raw_fd(fd) };
    let mut left = total;
    while left > 0 {
        let count = left.min(CHUNK as u64) as usize;
        if out.write_all(&pattern[..count]).is_err() {
            std::process::exit(1);
        }
        left -= count as u64;
    }
}
