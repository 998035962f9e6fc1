//! The file system of a sandbox: image below, its own directory above, the kernel's file systems carried over.

use super::failed;
use super::request::{Furniture, Request};
use crate::error::WireError;
use crate::sys::io::{self, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_WRONLY};
use crate::sys::{fs, mount, EEXIST, EINVAL, ENOENT};

/// Where the new root is put together.
const ROOT: &[u8] = b"/.millibox/root";
/// Each with its masks and read-only parts, which are mounts below it.
const CARRIED: [&str; 3] = ["proc", "sys", "dev"];

pub fn enter(request: &Request) -> Result<(), WireError> {
    mount_overlay(request)?;
    for name in CARRIED {
        carry(name)?;
    }
    mount::replace_root(ROOT).map_err(|errno| failed("the root cannot be replaced", errno))
}

/// Nothing of a sandbox outlives the machine, so nothing need be forced to disk: a sandbox's fsync costs the node nothing.
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
    // What an image has there may be a link to anywhere.
    fs::open_at(fs::AT_FDCWD, &target, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0)
        .map_err(|_| WireError::new("image_invalid", format!("/{} of the image is not a directory", name)))?;
    mount::mount(&source, &target, b"", mount::MOVE, b"")
        .map_err(|errno| failed(&format!("/{} cannot be carried over", name), errno))
}

/// In the new root, where no path leads out any more.
pub fn furnish(request: &Request) -> Result<(), WireError> {
    for file in &request.files {
        // An image without /etc, or with something odd there, goes without.
        let _ = write(file);
    }
    if !request.workdir.is_empty() {
        make_all(&request.workdir).map_err(|errno| failed("the working directory cannot be made", errno))?;
    }
    Ok(())
}

fn write(file: &Furniture) -> Result<(), i32> {
    let parent = file.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    if parent > 0 {
        make_all(&file.path[..parent])?;
    }
    // What the image has there may be a link, a pipe, or nobody's to read.
    match fs::unlink(fs::AT_FDCWD, &file.path) {
        Ok(()) | Err(ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let fd = fs::open_at(fs::AT_FDCWD, &file.path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)?;
    let mut rest = &file.text[..];
    while !rest.is_empty() {
        let written = io::write(fd.raw(), rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

fn make_all(path: &[u8]) -> Result<(), i32> {
    match fs::make_directory(fs::AT_FDCWD, path, 0o755) {
        Err(ENOENT) => {
            let parent = path.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0).ok_or(ENOENT)?;
            make_all(&path[..parent])?;
            fs::make_directory(fs::AT_FDCWD, path, 0o755)
        }
        Err(EEXIST) => Ok(()),
        other => other,
    }
}
