//! Requests, as the agent writes them.

use boxinit::json;

pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time").as_nanos();
    format!("{}-{}-{}-{}", prefix, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), nanos % 1_000_000)
}

pub fn quote(text: &str) -> String {
    let mut writer = json::Writer::object();
    writer.str("s", text.as_bytes());
    let text = String::from_utf8(writer.end()).expect("utf8");
    text[5..text.len() - 1].to_string()
}

/// An exec request; `more` are additional members, each preceded by a comma. They take precedence over the default
/// ones.
pub fn exec(script: &str, more: &str) -> String {
    exec_as(&unique("x"), script, more)
}

pub fn exec_as(id: &str, script: &str, more: &str) -> String {
    format!(
        r#"{{"op":"exec","id":"{}","script":{}{},"env":{{"PATH":"{}"}},"cwd":"/","stdin":{},"killGraceMs":2000,"ringBytes":1048576,"detachedMs":60000}}"#,
        id,
        quote(script),
        more.replace("#stdin", ""),
        "/usr/local/bin:/usr/bin:/bin",
        more.contains("#stdin")
    )
}
