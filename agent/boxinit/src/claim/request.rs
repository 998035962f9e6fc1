//! The agent's claim request.

use super::card::Card;
use crate::error::WireError;
use crate::json::Value;

const MAX_LAYERS: usize = 256;
const MAX_HOSTNAME: usize = 64;

/// A small file to write into the image: `/etc/hosts` and the like.
pub struct SmallFile {
    pub path: Vec<u8>,
    pub text: Vec<u8>,
}

pub struct Request {
    /// Read-only lower dirs, topmost first, as seen in this container.
    pub layers: Vec<Vec<u8>>,
    pub upper: Vec<u8>,
    pub work: Vec<u8>,
    pub hostname: Vec<u8>,
    /// Created if the image does not have it. Empty: none.
    pub workdir: Vec<u8>,
    pub files: Vec<SmallFile>,
    pub card: Option<Card>,
}

impl Request {
    pub fn parse(open: &Value) -> Result<Request, WireError> {
        let bytes = |key: &str| open.bytes(key).map(<[u8]>::to_vec);
        let wrong = |what: &str| WireError::invalid(format!("{} is not as it should be", what));
        let mut layers = Vec::new();
        for layer in open.array("layers").unwrap_or(&[]) {
            match layer {
                // The kernel parses the list as one string, in which these characters are special.
                Value::String(path) if !path.iter().any(|byte| matches!(byte, b':' | b',' | b'\\')) => {
                    layers.push(path.clone())
                }
                _ => return Err(wrong("a layer")),
            }
        }
        let mut files = Vec::new();
        for file in open.array("files").unwrap_or(&[]) {
            let text = file.bytes("text").ok_or_else(|| wrong("a file"))?.to_vec();
            let path = file.bytes("path").ok_or_else(|| wrong("a file"))?.to_vec();
            files.push(SmallFile { path, text });
        }
        let request = Request {
            layers,
            upper: bytes("upper").ok_or_else(|| wrong("upper"))?,
            work: bytes("work").ok_or_else(|| wrong("work"))?,
            hostname: bytes("hostname").ok_or_else(|| wrong("hostname"))?,
            workdir: bytes("workdir").unwrap_or_default(),
            files,
            card: Card::parse(open)?,
        };
        if request.layers.is_empty() || request.layers.len() > MAX_LAYERS || request.hostname.len() > MAX_HOSTNAME {
            return Err(wrong("the claim"));
        }
        Ok(request)
    }

    /// The overlay's mount options.
    pub fn overlay(&self) -> Vec<u8> {
        let mut data = b"lowerdir=".to_vec();
        data.extend(self.layers.join(&b':'));
        data.extend_from_slice(b",upperdir=");
        data.extend_from_slice(&self.upper);
        data.extend_from_slice(b",workdir=");
        data.extend_from_slice(&self.work);
        data
    }
}
