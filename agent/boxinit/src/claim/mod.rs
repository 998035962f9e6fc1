//! Turns a blank into a sandbox: mounts the image's file system in place of the empty one, and drops every privilege
//! needed to do so. Before the claim only boxinit runs in a blank; after it nothing of the blank can be reached.

mod card;
mod filter;
mod request;
mod root;

use crate::error::WireError;
use crate::json::Value;
use crate::sys::io::{self, Fd, O_DIRECTORY, O_PATH, O_RDWR};
use crate::sys::{fs, mount, privilege, secrecy};
use request::Request;

pub use root::prepare;

/// Docker's default set without NET_RAW and MKNOD.
const KEPT_CAPABILITIES: u64 = 0xa004_05fb;

/// What is still used after the claim.
pub struct Claimed {
    /// The directory of the agent's socket. It is in no mount tree any more: only this process can reach it.
    pub socket: Vec<u8>,
    pub socket_dir: Fd,
}

fn failed(what: &str, errno: i32) -> WireError {
    WireError::new("internal", format!("{}: {}", what, crate::sys::message(errno)))
}

/// After an error the container is unusable: it is neither a blank nor a sandbox.
pub fn claim(open: &Value, socket: &[u8]) -> Result<Claimed, WireError> {
    let request = Request::parse(open)?;
    let (directory, name) = match socket.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&socket[..at], &socket[at..]),
        None => return Err(WireError::invalid("the socket's path is not absolute")),
    };
    let socket_dir =
        mount_read_only(directory).map_err(|errno| failed("the socket's directory cannot be held", errno))?;
    mount::set_hostname(&request.hostname).map_err(|errno| failed("the host name cannot be set", errno))?;
    root::enter(&request)?;
    if let Some(card) = &request.card {
        card.set_up()?;
    }
    close_log().map_err(|errno| failed("the log cannot be let go of", errno))?;
    give_up_privileges()?;
    let mut socket = format!("/proc/self/fd/{}", socket_dir.raw()).into_bytes();
    socket.extend_from_slice(name);
    Ok(Claimed { socket, socket_dir })
}

/// Makes the directory a read-only mount of its own. From a descriptor one can walk up to the root of its mount, and
/// the original mount contains the agent's whole directory.
fn mount_read_only(directory: &[u8]) -> Result<Fd, i32> {
    let own = mount::NOSUID | mount::NODEV | mount::NOEXEC | mount::RDONLY;
    mount::mount(directory, directory, b"", mount::BIND, b"")?;
    mount::mount(directory, directory, b"", mount::BIND | mount::REMOUNT | own, b"")?;
    fs::open_at(fs::AT_FDCWD, directory, O_PATH | O_DIRECTORY, 0)
}

/// Closes the blank's log: a file of the agent's that would grow on the node's disk.
fn close_log() -> Result<(), i32> {
    let null = fs::open_at(fs::AT_FDCWD, b"/dev/null", O_RDWR, 0)?;
    for standard in 0..3 {
        io::duplicate_to(null.raw(), standard)?;
    }
    Ok(())
}

/// For a container whose runtime loads its own filter, which may allow what ours forbids. Requires no_new_privs.
pub fn close_calls() -> Result<(), i32> {
    privilege::add_filter(&filter::program())
}

fn give_up_privileges() -> Result<(), WireError> {
    privilege::keep_capabilities(KEPT_CAPABILITIES).map_err(|errno| failed("capabilities cannot be dropped", errno))?;
    privilege::set_no_new_privileges().map_err(|errno| failed("no-new-privileges cannot be set", errno))?;
    close_calls().map_err(|errno| failed("the filter cannot be loaded", errno))?;
    // The kernel may reset it when credentials change.
    secrecy::set_undumpable();
    Ok(())
}
