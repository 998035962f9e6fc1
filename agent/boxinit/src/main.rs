//! The entry point; see the library. It reads MILLIBOX_SOCKET, MILLIBOX_TOKEN, MILLIBOX_BLANK, MILLIBOX_PATIENCE_MS,
//! MILLIBOX_FILTER, MILLIBOX_NURSERY and MILLIBOX_READ_ON, and removes them from the environment before any program
//! runs.

use boxinit::core::Core;
use boxinit::exec::spawn::Spawner;
use boxinit::server::{self, Config, Server};
use boxinit::sys::io::Fd;
use boxinit::sys::{limits, net, process, secrecy, signal};
use boxinit::{claim, fail, nursery};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::io::IntoRawFd;
use std::time::Duration;

const DEFAULT_SOCKET: &str = "/.millibox/agent.sock";

/// Reads a variable and removes every trace of it.
fn take(name: &str) -> Option<Vec<u8>> {
    let value = std::env::var_os(name).map(|value| value.into_vec());
    secrecy::wipe_environment(name);
    std::env::remove_var(name);
    value
}

/// Occupies descriptors 0, 1 and 2, so that none of our pipes gets these numbers.
fn open_null() -> std::io::Result<Fd> {
    loop {
        let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let fd = file.into_raw_fd();
        if fd > 2 {
            return Ok(Fd::new(fd));
        }
    }
}

fn milliseconds(text: Vec<u8>) -> Option<Duration> {
    String::from_utf8(text).ok()?.parse().ok().map(Duration::from_millis)
}

fn main() {
    secrecy::set_undumpable();
    let socket = take("MILLIBOX_SOCKET").unwrap_or_else(|| DEFAULT_SOCKET.as_bytes().to_vec());
    if take("MILLIBOX_NURSERY").is_some() {
        return serve(nursery::run(&socket));
    }
    if take("MILLIBOX_FILTER").is_some() {
        if let Err(errno) = claim::close_calls() {
            fail("the filter cannot be loaded", errno);
        }
    }
    serve(Config {
        socket,
        token: take("MILLIBOX_TOKEN").unwrap_or_default(),
        blank: take("MILLIBOX_BLANK").as_deref() == Some(b"1"),
        patience: take("MILLIBOX_PATIENCE_MS").and_then(milliseconds).unwrap_or(Config::PATIENCE),
        read_on: take("MILLIBOX_READ_ON").is_some(),
    })
}

fn serve(config: Config) {
    if process::getpid() != 1 {
        process::set_subreaper();
    }
    if let Err(error) = std::env::set_current_dir("/") {
        fail("the root cannot be entered", error.raw_os_error().unwrap_or(0));
    }
    let signals = server::handled_signals();
    signal::reset_all();
    signal::set_mask(&signals);
    net::raise_loopback();
    let null = match open_null() {
        Ok(null) => null,
        Err(error) => fail("/dev/null cannot be opened", error.raw_os_error().unwrap_or(0)),
    };
    // A kernel that does not signal the link's end (gVisor) does not signal a child's execve either.
    let spawner = if config.read_on { Spawner::patient() } else { Spawner::watchful() };
    let started =
        Core::new(null, spawner, limits::raise_descriptor_limit()).and_then(|core| Server::new(core, config, &signals));
    match started {
        Ok(mut server) => server.run(),
        Err(errno) => fail("the event loop cannot be made", errno),
    }
}
