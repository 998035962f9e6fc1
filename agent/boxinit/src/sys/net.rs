//! Sockets.

use super::{c_char, c_int, c_short, c_uint, c_ulong, c_void, check};
use crate::sys::io::Fd;
use std::ffi::CString;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: c_int = 16;
const SOCK_STREAM: c_int = 1;
const SOCK_DGRAM: c_int = 2;
const SOCK_RAW: c_int = 3;
const SOCK_CLOEXEC: c_int = 0o2000000;
const SOCK_NONBLOCK: c_int = 0o4000;
const SOL_SOCKET: c_int = 1;
const SO_ERROR: c_int = 4;
const SHUT_WR: c_int = 1;
const IPPROTO_TCP: c_int = 6;
const TCP_NODELAY: c_int = 1;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const IFF_UP: c_short = 1;

#[repr(C)]
struct UnixAddress {
    family: u16,
    path: [u8; 108],
}

#[repr(C)]
struct Inet4Address {
    family: u16,
    port: u16,
    address: [u8; 4],
    zero: [u8; 8],
}

#[repr(C)]
struct Inet6Address {
    family: u16,
    port: u16,
    flow: u32,
    address: [u8; 16],
    scope: u32,
}

#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: c_short,
    rest: [u8; 22],
}

extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const c_void, len: u32) -> c_int;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut u32) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: u32) -> c_int;
    fn shutdown(fd: c_int, how: c_int) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn if_nametoindex(name: *const c_char) -> c_uint;
}

/// Connects to a unix socket, without waiting for room in its backlog.
pub fn connect_unix(path: &[u8]) -> Result<Fd, i32> {
    let mut address = UnixAddress { family: AF_UNIX, path: [0; 108] };
    if path.is_empty() || path.len() >= address.path.len() {
        return Err(super::ENAMETOOLONG);
    }
    address.path[..path.len()].copy_from_slice(path);
    // SAFETY: no memory is passed, only integers.
    let fd = Fd::new(check(unsafe { socket(AF_UNIX as c_int, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) })?);
    let len = (2 + path.len() + 1) as u32;
    // SAFETY: the address is live and as large as its size says.
    check(unsafe { connect(fd.raw(), (&address as *const UnixAddress).cast::<c_void>(), len) })?;
    Ok(fd)
}

/// Starts a connection to a port on this machine's loopback. Done when the descriptor becomes writable.
pub fn connect_loopback(port: u16, version6: bool) -> Result<Fd, i32> {
    let family = if version6 { AF_INET6 } else { AF_INET };
    // SAFETY: no memory is passed, only integers.
    let fd = Fd::new(check(unsafe { socket(family as c_int, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) })?);
    let one: c_int = 1;
    // SAFETY: the address is live and as large as its size says.
    let result = unsafe {
        setsockopt(fd.raw(), IPPROTO_TCP, TCP_NODELAY, (&one as *const c_int).cast(), 4);
        if version6 {
            let mut address = Inet6Address { family, port: port.to_be(), flow: 0, address: [0; 16], scope: 0 };
            address.address[15] = 1;
            let size = std::mem::size_of::<Inet6Address>() as u32;
            connect(fd.raw(), (&address as *const Inet6Address).cast(), size)
        } else {
            let address = Inet4Address { family, port: port.to_be(), address: [127, 0, 0, 1], zero: [0; 8] };
            let size = std::mem::size_of::<Inet4Address>() as u32;
            connect(fd.raw(), (&address as *const Inet4Address).cast(), size)
        }
    };
    match check(result) {
        Ok(_) | Err(super::EINPROGRESS) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

/// The outcome of a started connection: 0, or an errno.
pub fn socket_error(fd: c_int) -> i32 {
    let mut error: c_int = 0;
    let mut len: u32 = 4;
    // SAFETY: `error` and `len` are live, and `len` is the size of `error`.
    let result = unsafe { getsockopt(fd, SOL_SOCKET, SO_ERROR, (&mut error as *mut c_int).cast(), &mut len) };
    if result < 0 {
        super::errno()
    } else {
        error
    }
}

pub fn shutdown_write(fd: c_int) {
    // SAFETY: no memory is passed, only integers.
    unsafe { shutdown(fd, SHUT_WR) };
}

/// A netlink socket for the interfaces, addresses and routes of this network namespace. Never waits: answers are
/// available at once.
pub fn route_socket() -> Result<Fd, i32> {
    // SAFETY: no memory is passed, only integers.
    Ok(Fd::new(check(unsafe { socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) })?))
}

pub fn interface_index(name: &[u8]) -> Result<u32, i32> {
    let name = CString::new(name).map_err(|_| super::EINVAL)?;
    // SAFETY: the name is zero-terminated.
    match unsafe { if_nametoindex(name.as_ptr()) } {
        0 => Err(super::errno()),
        index => Ok(index),
    }
}

/// Brings the loopback interface up if that is allowed and needed.
pub fn raise_loopback() {
    // SAFETY: no memory is passed, only integers.
    let fd = match check(unsafe { socket(AF_INET as c_int, SOCK_DGRAM | SOCK_CLOEXEC, 0) }) {
        Ok(fd) => Fd::new(fd),
        Err(_) => return,
    };
    let mut request = InterfaceRequest { name: [0; 16], flags: 0, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: `request` is as large as the kernel's ifreq, which both calls read or write.
    unsafe {
        if ioctl(fd.raw(), SIOCGIFFLAGS, &mut request as *mut InterfaceRequest) < 0 || request.flags & IFF_UP != 0 {
            return;
        }
        request.flags |= IFF_UP;
        ioctl(fd.raw(), SIOCSIFFLAGS, &request as *const InterfaceRequest);
    }
}
