//! A blank's /proc, /sys and /dev, as a container runtime sets them up.

use super::child::Failure;
use super::plan::Plan;
use crate::sys::io::{O_DIRECTORY, O_PATH};
use crate::sys::mount::{self, BIND, NODEV, NOEXEC, NOSUID, RDONLY, REC, RELATIME, REMOUNT, STRICTATIME};
use crate::sys::{fs, ENOENT, ENOTDIR};

const STRICT: u64 = NOSUID | NOEXEC | NODEV;

/// Name, major, minor: harmless device nodes.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

pub fn mount_all(plan: &Plan) -> Result<(), Failure> {
    // The nursery's own: its view is not for its children.
    for inherited in ["/proc", "/dev"] {
        mount::detach(inherited.as_bytes()).map_err(|errno| ("the nursery's files stay in the way", errno))?;
    }
    processes().map_err(|errno| ("/proc cannot be mounted", errno))?;
    devices().map_err(|errno| ("/dev cannot be mounted", errno))?;
    system(plan).map_err(|errno| ("/sys cannot be mounted", errno))?;
    for path in &plan.read_only {
        make_read_only(path).map_err(|errno| ("a path cannot be made read-only", errno))?;
    }
    for path in &plan.masked {
        mask(path).map_err(|errno| ("a path cannot be masked", errno))?;
    }
    Ok(())
}

fn processes() -> Result<(), i32> {
    mount::mount(b"proc", b"/proc", b"proc", STRICT, b"")
}

fn devices() -> Result<(), i32> {
    mount::mount(b"tmpfs", b"/dev", b"tmpfs", NOSUID | STRICTATIME, b"mode=755,size=65536k")?;
    for (name, major, minor) in DEVICES {
        let path = format!("/dev/{}", name).into_bytes();
        fs::make_node(fs::AT_FDCWD, &path, fs::S_IFCHR | 0o666, (major, minor))?;
        fs::set_mode_at(fs::AT_FDCWD, &path, 0o666)?;
    }
    for (target, path) in LINKS {
        fs::make_link(target.as_bytes(), fs::AT_FDCWD, path.as_bytes())?;
    }
    for path in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        fs::make_directory(fs::AT_FDCWD, path.as_bytes(), 0o755)?;
    }
    // The node has 3,072 for all of them.
    let terminals = b"newinstance,ptmxmode=0666,mode=0620,gid=5,max=256";
    mount::mount(b"devpts", b"/dev/pts", b"devpts", NOSUID | NOEXEC, terminals)?;
    mount::mount(b"mqueue", b"/dev/mqueue", b"mqueue", STRICT, b"")?;
    mount::mount(b"shm", b"/dev/shm", b"tmpfs", STRICT, b"mode=1777,size=67108864")
}

fn system(plan: &Plan) -> Result<(), i32> {
    mount::mount(b"sysfs", b"/sys", b"sysfs", STRICT | RDONLY, b"")?;
    let root = b"/sys/fs/cgroup";
    let flags = STRICT | RELATIME | RDONLY;
    if !plan.hierarchies.iter().any(|hierarchy| hierarchy.name.is_empty()) {
        mount::mount(b"tmpfs", root, b"tmpfs", STRICT | RELATIME, b"mode=755")?;
    }
    for hierarchy in &plan.hierarchies {
        let mut target = root.to_vec();
        if !hierarchy.name.is_empty() {
            target.push(b'/');
            target.extend_from_slice(&hierarchy.name);
            fs::make_directory(fs::AT_FDCWD, &target, 0o755)?;
        }
        mount::mount(b"cgroup", &target, &hierarchy.kind, flags, &hierarchy.options)?;
    }
    Ok(())
}

fn make_read_only(path: &[u8]) -> Result<(), i32> {
    match mount::mount(path, path, b"", BIND | REC, b"") {
        Err(ENOENT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(()) => mount::mount(path, path, b"", BIND | REMOUNT | REC | RDONLY | STRICT, b""),
    }
}

fn mask(path: &[u8]) -> Result<(), i32> {
    match fs::open_at(fs::AT_FDCWD, path, O_PATH | O_DIRECTORY, 0) {
        Ok(_) => mount::mount(b"tmpfs", path, b"tmpfs", RDONLY, b""),
        Err(ENOTDIR) => mount::mount(b"/dev/null", path, b"", BIND, b""),
        Err(ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
