//! What was received on a stream.

use boxinit::frame;
use boxinit::json::Value;
use std::collections::HashMap;

/// Everything received on one stream until it ended.
#[derive(Default, Debug)]
pub struct Outcome {
    pub opened: Option<Value>,
    pub refused: Option<Value>,
    pub reset: Option<Value>,
    pub events: Vec<Value>,
    pub data: HashMap<u16, Vec<u8>>,
    pub fin: bool,
}

impl Outcome {
    pub fn stdout(&self) -> &[u8] {
        self.data.get(&frame::STDOUT).map(|bytes| bytes.as_slice()).unwrap_or(b"")
    }

    pub fn stderr(&self) -> &[u8] {
        self.data.get(&frame::STDERR).map(|bytes| bytes.as_slice()).unwrap_or(b"")
    }

    pub fn bytes(&self) -> &[u8] {
        self.data.get(&frame::BYTES).map(|bytes| bytes.as_slice()).unwrap_or(b"")
    }

    pub fn event(&self, kind: &str) -> Option<&Value> {
        self.events.iter().find(|event| event.text("type") == Some(kind))
    }

    pub fn exit(&self) -> &Value {
        self.event("exit").unwrap_or_else(|| panic!("no exit: {:?}", self))
    }

    pub fn code(&self) -> i64 {
        match self.exit().get("exitCode") {
            Some(Value::Number(code)) => *code as i64,
            other => panic!("exit code {:?}", other),
        }
    }

    pub fn refusal(&self) -> &str {
        self.refused.as_ref().and_then(|error| error.text("code")).unwrap_or("")
    }
}
