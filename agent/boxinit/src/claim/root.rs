//! A sandbox's root: the image as overlay lower dirs, its own directory as upper dir, and the kernel file systems
//! carried over.

use super::failed;
use super::request::{Request, SmallFile};
use crate::error::WireError;
use crate::sys::io::{self, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_TRUNC, O_WRONLY};
use crate::sys::{fs, mount, EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR};

/// Where the new root is assembled.
const ROOT: &[u8] = b"/.millibox/root";
/// Each with its masked and read-only parts, which are mounts below it.
const CARRIED: [&str; 3] = ["proc", "sys", "dev"];
/// As many as the kernel follows.
const MAX_LINKS: u32 = 40;

pub fn enter(request: &Request) -> Result<(), WireError> {
    let left = write_into_upper(request);
    mount_overlay(request)?;
    for name in CARRIED {
        carry(name)?;
    }
    mount::replace_root(ROOT).map_err(|errno| failed("the root cannot be replaced", errno))?;
    write_files(request, &left)
}

/// No sandbox survives a reboot, so nothing need be synced: a sandbox's fsync costs the node nothing.
fn mount_overlay(request: &Request) -> Result<(), WireError> {
    let options = request.overlay();
    let volatile = [&options[..], b",volatile"].concat();
    let result = match mount::mount(b"overlay", ROOT, b"overlay", 0, &volatile) {
        Err(EINVAL) => mount::mount(b"overlay", ROOT, b"overlay", 0, &options),
        other => other,
    };
    result.map_err(|errno| failed("the image cannot be mounted", errno))
}

fn carry(name: &str) -> Result<(), WireError> {
    let source = format!("/{}", name).into_bytes();
    let target = [ROOT, &source].concat();
    match fs::make_directory(fs::AT_FDCWD, &target, 0o755) {
        Ok(()) | Err(EEXIST) => {}
        Err(errno) => return Err(failed("a mount point cannot be made", errno)),
    }
    // The image may have a symbolic link to anywhere there.
    fs::open_at(fs::AT_FDCWD, &target, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0)
        .map_err(|_| WireError::new("image_invalid", format!("/{} of the image is not a directory", name)))?;
    mount::mount(&source, &target, b"", mount::MOVE, b"")
        .map_err(|errno| failed(&format!("/{} cannot be carried over", name), errno))
}

/// Puts files into the upper dir before the overlay is mounted, at a tenth of the cost of doing so through the overlay,
/// or less if the blank has created the file while it waited. Returns the files that cannot be put there.
fn write_into_upper(request: &Request) -> Vec<&SmallFile> {
    let mut settled = Vec::new();
    request.files.iter().filter(|file| !write_file_into_upper(request, file, &mut settled)).collect()
}

fn write_file_into_upper<'a>(request: &Request, file: &'a SmallFile, settled: &mut Vec<(&'a [u8], bool)>) -> bool {
    let parent = match file.path.iter().rposition(|byte| *byte == b'/') {
        Some(at) if at > 0 && !file.path[1..at].contains(&b'/') => &file.path[..at],
        _ => return false,
    };
    let usable = match settled.iter().find(|(known, _)| *known == parent) {
        Some((_, usable)) => *usable,
        None => {
            let usable = create_like_image(request, parent);
            settled.push((parent, usable));
            usable
        }
    };
    usable && write_plainly(&[&request.upper[..], &file.path].concat(), &file.text).is_ok()
}

/// Creates the directory as the image has it. False if it cannot be created here.
fn create_like_image(request: &Request, path: &[u8]) -> bool {
    let directory = [&request.upper[..], path].concat();
    if !matches!(fs::make_directory(fs::AT_FDCWD, &directory, 0o755), Ok(()) | Err(EEXIST)) {
        return false;
    }
    match in_image(request, path) {
        InImage::Directory(stat) => {
            let (owner, mode) = ((stat.uid, stat.gid), stat.mode & 0o7777);
            (owner == (0, 0) || fs::set_owner_at(fs::AT_FDCWD, &directory, owner, false).is_ok())
                && (mode == 0o755 || fs::set_mode_at(fs::AT_FDCWD, &directory, mode).is_ok())
        }
        InImage::Nothing => true,
        // It would hide what the image means by it.
        InImage::Other => {
            for file in request.files.iter().filter(|file| file.path.starts_with(path)) {
                let _ = fs::unlink(fs::AT_FDCWD, &[&request.upper[..], &file.path].concat());
            }
            let _ = fs::remove_directory(fs::AT_FDCWD, &directory);
            false
        }
    }
}

/// Called while a blank waits: creates the files that every claim will write into the upper dir. Files missing at the
/// claim are created then.
pub fn prepare(upper: &[u8], files: &[&[u8]]) {
    for path in files {
        if let Some(at) = path.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0) {
            let _ = fs::make_directory(fs::AT_FDCWD, &[upper, &path[..at]].concat(), 0o755);
        }
        let _ = write_plainly(&[upper, path].concat(), b"");
    }
}

/// For a place where only this process writes.
fn write_plainly(path: &[u8], text: &[u8]) -> Result<(), i32> {
    let fd = fs::open_at(fs::AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o644)?;
    write_all(&fd, text)
}

enum InImage {
    Directory(fs::Stat),
    Nothing,
    Other,
}

fn in_image(request: &Request, path: &[u8]) -> InImage {
    for layer in &request.layers {
        match fs::stat_at(fs::AT_FDCWD, &[layer, path].concat(), false) {
            Ok(stat) if stat.is_directory() => return InImage::Directory(stat),
            // A whiteout: the layer removes the file.
            Ok(stat) if stat.kind() == fs::S_IFCHR && stat.special == (0, 0) => return InImage::Nothing,
            Ok(_) => return InImage::Other,
            Err(_) => {}
        }
    }
    InImage::Nothing
}

/// In the new root, where no path leads out any more.
fn write_files(request: &Request, files: &[&SmallFile]) -> Result<(), WireError> {
    for file in files {
        // An image with something odd in the way goes without.
        let _ = write(file);
    }
    if !request.workdir.is_empty() {
        make_all(&request.workdir).map_err(no_workdir)?;
    }
    Ok(())
}

/// If the image itself obstructs the directory it names, that is not the container's fault: another would fail too.
fn no_workdir(errno: i32) -> WireError {
    let error = failed("the working directory cannot be made", errno);
    match errno {
        ENOTDIR | ELOOP | ENAMETOOLONG => WireError { code: "image_invalid", ..error },
        _ => error,
    }
}

fn write(file: &SmallFile) -> Result<(), i32> {
    let parent = file.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    if parent > 0 {
        make_all(&file.path[..parent])?;
    }
    // The image may have a link, a pipe or an unreadable file there.
    match fs::unlink(fs::AT_FDCWD, &file.path) {
        Ok(()) | Err(ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let fd = fs::open_at(fs::AT_FDCWD, &file.path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)?;
    write_all(&fd, &file.text)
}

fn write_all(fd: &io::Fd, mut rest: &[u8]) -> Result<(), i32> {
    while !rest.is_empty() {
        let written = io::write(fd.raw(), rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

fn make_all(path: &[u8]) -> Result<(), i32> {
    let mut links = MAX_LINKS;
    make_all_through(path, &mut links)
}

/// Also creates the targets of symbolic links on the way, so that the path resolves.
fn make_all_through(path: &[u8], links: &mut u32) -> Result<(), i32> {
    match fs::make_directory(fs::AT_FDCWD, path, 0o755) {
        Err(ENOENT) => {
            make_all_through(parent_of(path).ok_or(ENOENT)?, links)?;
            fs::make_directory(fs::AT_FDCWD, path, 0o755)
        }
        Err(EEXIST) if matches!(fs::stat_at(fs::AT_FDCWD, path, true), Err(ENOENT)) => {
            *links = links.checked_sub(1).ok_or(ELOOP)?;
            let target = fs::read_link(fs::AT_FDCWD, path)?;
            let from_here = [parent_of(path).unwrap_or(b""), b"/", &target[..]].concat();
            make_all_through(if target.starts_with(b"/") { &target } else { &from_here }, links)
        }
        Err(EEXIST) => Ok(()),
        other => other,
    }
}

fn parent_of(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0).map(|at| &path[..at])
}
