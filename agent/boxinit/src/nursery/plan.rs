//! What every blank of this nursery gets, according to the agent's plan.

use crate::json::Value;

/// A cgroup hierarchy as seen by a blank.
pub struct Hierarchy {
    /// Directory below /sys/fs/cgroup; empty for the single v2 hierarchy, which is /sys/fs/cgroup itself.
    pub name: Vec<u8>,
    pub kind: Vec<u8>,
    pub options: Vec<u8>,
}

pub struct Plan {
    /// Directories in which each blank has a cgroup named after its id.
    pub groups: Vec<Vec<u8>>,
    /// Whether the agent creates them; older agents leave that to the blank.
    pub groups_made: bool,
    pub hierarchies: Vec<Hierarchy>,
    pub masked: Vec<Vec<u8>>,
    pub read_only: Vec<Vec<u8>>,
}

impl Plan {
    pub fn parse(request: &Value) -> Option<Plan> {
        let list = |key: &str| -> Option<Vec<Vec<u8>>> {
            request
                .array(key)?
                .iter()
                .map(|item| match item {
                    Value::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect()
        };
        let hierarchy = |item: &Value| {
            Some(Hierarchy {
                name: item.bytes("name")?.to_vec(),
                kind: item.bytes("kind")?.to_vec(),
                options: item.bytes("options")?.to_vec(),
            })
        };
        Some(Plan {
            groups: list("groups")?,
            groups_made: request.get("groupsMade") == Some(&Value::Bool(true)),
            hierarchies: request.array("hierarchies")?.iter().map(hierarchy).collect::<Option<_>>()?,
            masked: list("masked")?,
            read_only: list("readOnly")?,
        })
    }
}
