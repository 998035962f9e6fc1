//! Errors as they cross the wire. The codes are those of src/protocol/errors.ts.

use crate::json::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    pub code: &'static str,
    pub message: String,
}

impl WireError {
    pub fn new(code: &'static str, message: impl Into<String>) -> WireError {
        WireError { code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> WireError {
        WireError::new("invalid_request", message)
    }

    pub fn resource_limit(message: impl Into<String>) -> WireError {
        WireError::new("exec_resource_limit", message)
    }

    pub fn to_json(&self) -> Vec<u8> {
        let retryable = matches!(self.code, "exec_resource_limit" | "port_refused");
        let mut out = Writer::object();
        out.str("code", self.code.as_bytes());
        out.str("message", self.message.as_bytes());
        out.bool("retryable", retryable);
        out.end()
    }
}
