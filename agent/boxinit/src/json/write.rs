//! Writes JSON.

/// Builds one JSON text, member by member.
pub struct Writer {
    out: Vec<u8>,
    /// Closing brackets still to be written.
    open: Vec<u8>,
    first: bool,
}

impl Writer {
    pub fn object() -> Writer {
        let mut writer = Writer { out: Vec::with_capacity(128), open: Vec::new(), first: true };
        writer.begin(b'{', b'}');
        writer
    }

    fn begin(&mut self, start: u8, end: u8) {
        self.out.push(start);
        self.open.push(end);
        self.first = true;
    }

    fn comma(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    fn key(&mut self, key: &str) {
        self.comma();
        if !key.is_empty() {
            quote(key.as_bytes(), &mut self.out);
            self.out.push(b':');
        }
    }

    pub fn str(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        quote(value, &mut self.out);
    }

    pub fn uint(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    pub fn int(&mut self, key: &str, value: i64) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// Rounded to a thousandth.
    pub fn float(&mut self, key: &str, value: f64) {
        self.key(key);
        let value = if value.is_finite() { value } else { 0.0 };
        self.out.extend_from_slice(((value * 1e3).round() / 1e3).to_string().as_bytes());
    }

    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub fn null(&mut self, key: &str) {
        self.key(key);
        self.out.extend_from_slice(b"null");
    }

    /// An object as a member of the current one; an empty key makes it an item of an array.
    pub fn begin_object(&mut self, key: &str) {
        self.key(key);
        self.begin(b'{', b'}');
    }

    pub fn begin_array(&mut self, key: &str) {
        self.key(key);
        self.begin(b'[', b']');
    }

    pub fn close(&mut self) {
        if let Some(end) = self.open.pop() {
            self.out.push(end);
        }
        self.first = false;
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Closes everything that is open.
    pub fn end(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while !rest.is_empty() {
        let (good, bad) = match std::str::from_utf8(rest) {
            Ok(_) => (rest.len(), 0),
            Err(error) => (error.valid_up_to(), error.error_len().unwrap_or(rest.len() - error.valid_up_to())),
        };
        for byte in &rest[..good] {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                0..=0x1f => out.extend_from_slice(format!("\\u{:04x}", byte).as_bytes()),
                _ => out.push(*byte),
            }
        }
        for byte in &rest[good..good + bad] {
            out.extend_from_slice(format!("\\udc{:02x}", byte).as_bytes());
        }
        rest = &rest[good + bad..];
    }
    out.push(b'"');
}
