//! What a child of the nursery does before it serves: from then on it is like a container started by a runtime.

use super::kernel_files;
use super::plan::Plan;
use crate::sys::io::O_WRONLY;
use crate::sys::{fs, io, mount, process, EEXIST};

/// Mount, PID, UTS, IPC and network. Its cgroup namespace begins once it is in its group.
pub const NAMESPACES: u64 =
    process::NEW_MOUNTS | process::NEW_PROCESS_IDS | process::NEW_HOSTNAME | process::NEW_IPC | process::NEW_NETWORK;

const HOSTNAME: &[u8] = b"blank";

/// What failed, and how.
pub type Failure = (&'static str, i32);

pub fn settle(plan: &Plan, id: &[u8]) -> Result<(), Failure> {
    enter_groups(plan, id).map_err(|errno| ("a control group cannot be entered", errno))?;
    process::unshare(process::NEW_CONTROL_GROUP).map_err(|errno| ("no view of control groups", errno))?;
    mount::set_hostname(HOSTNAME).map_err(|errno| ("the host name cannot be set", errno))?;
    kernel_files::mount_all(plan)
}

/// An agent that sets `groups_made` creates the groups, and removes them when it gives this blank up: then there is
/// nothing to enter.
fn enter_groups(plan: &Plan, id: &[u8]) -> Result<(), i32> {
    for parent in &plan.groups {
        let group = [parent, &b"/"[..], id].concat();
        if !plan.groups_made {
            match fs::make_directory(fs::AT_FDCWD, &group, 0o755) {
                Ok(()) | Err(EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        let list = [&group, &b"/cgroup.procs"[..]].concat();
        let list = fs::open_at(fs::AT_FDCWD, &list, O_WRONLY, 0)?;
        // 0 stands for the writer.
        io::write(list.raw(), b"0")?;
    }
    Ok(())
}
