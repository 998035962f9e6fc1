//! JSON, as little as the wire needs. Strings are bytes: a lone surrogate U+DC80-U+DCFF stands for the byte 0x80-0xff, in
//! both directions, so that names which are not UTF-8 survive.

/// Deeper nesting is refused: the parser recurses.
const MAX_DEPTH: u32 = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    String(Vec<u8>),
    Array(Vec<Value>),
    Object(Vec<(Vec<u8>, Value)>),
}

impl Value {
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(entries) => entries.iter().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        match self.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.bytes(key).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// A whole number from 0 to 2^53.
    pub fn uint(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(Value::Number(n)) if *n >= 0.0 && *n <= 9_007_199_254_740_992.0 && n.fract() == 0.0 => Some(*n as u64),
            _ => None,
        }
    }

    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Value::Bool(true)))
    }

    pub fn array(&self, key: &str) -> Option<&[Value]> {
        match self.get(key) {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        }
    }

    pub fn object(&self, key: &str) -> Option<&[(Vec<u8>, Value)]> {
        match self.get(key) {
            Some(Value::Object(entries)) => Some(entries),
            _ => None,
        }
    }
}

pub fn parse(input: &[u8]) -> Option<Value> {
    let mut parser = Parser { input, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    (parser.at == input.len()).then_some(value)
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn literal(&mut self, text: &[u8], value: Value) -> Option<Value> {
        if self.input[self.at..].starts_with(text) {
            self.at += text.len();
            return Some(value);
        }
        None
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.space();
        match self.peek()? {
            b'n' => self.literal(b"null", Value::Null),
            b't' => self.literal(b"true", Value::Bool(true)),
            b'f' => self.literal(b"false", Value::Bool(false)),
            b'"' => self.string().map(Value::String),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: u32) -> Option<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Some(Value::Array(items));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn object(&mut self, depth: u32) -> Option<Value> {
        self.at += 1;
        let mut entries = Vec::new();
        self.space();
        if self.take(b'}') {
            return Some(Value::Object(entries));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return None;
            }
            let key = self.string()?;
            self.space();
            if !self.take(b':') {
                return None;
            }
            entries.push((key, self.value(depth + 1)?));
            self.space();
            if self.take(b'}') {
                return Some(Value::Object(entries));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.input[start..self.at]).ok()?;
        if !matches!(text.as_bytes().first(), Some(b'0'..=b'9' | b'-')) {
            return None;
        }
        text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::Number)
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let start = self.at;
            while matches!(self.peek(), Some(byte) if byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            out.extend_from_slice(&self.input[start..self.at]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(out);
                }
                b'\\' => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' => out.push(byte),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let unit = self.hex4()?;
                self.unit(unit, out)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.input.get(self.at..self.at + 4)?;
        let mut unit = 0;
        for digit in digits {
            unit = unit * 16 + (*digit as char).to_digit(16)?;
        }
        self.at += 4;
        Some(unit)
    }

    /// A UTF-16 unit, with its other half when it is a pair.
    fn unit(&mut self, unit: u32, out: &mut Vec<u8>) -> Option<()> {
        if (0xdc80..=0xdcff).contains(&unit) {
            out.push((unit - 0xdc00) as u8);
            return Some(());
        }
        let mut point = unit;
        if (0xd800..0xdc00).contains(&unit) && self.input[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.at = back;
            }
        }
        let character = char::from_u32(point).unwrap_or('\u{fffd}');
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }
}

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

    /// Closes all that is open.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let mut writer = Writer::object();
        writer.str("name", b"a\"b\\\n\xff\xc3\xa9");
        writer.uint("n", 9_007_199_254_740_991);
        writer.begin_array("list");
        writer.int("", -3);
        writer.bool("", true);
        writer.null("");
        writer.close();
        writer.float("f", 1.2345);
        let text = writer.end();
        let value = parse(&text).expect("valid");
        assert_eq!(value.bytes("name"), Some(&b"a\"b\\\n\xff\xc3\xa9"[..]));
        assert_eq!(value.uint("n"), Some(9_007_199_254_740_991));
        assert_eq!(value.array("list").map(|l| l.len()), Some(3));
        assert_eq!(value.get("f"), Some(&Value::Number(1.235)));
    }

    #[test]
    fn lone_surrogates_are_bytes() {
        let value = parse(br#"{"p":"x\udcff\ud83d\ude00\ud800y"}"#).expect("valid");
        assert_eq!(
            value.bytes("p"),
            Some("x".bytes().chain([0xff]).chain("😀\u{fffd}y".bytes()).collect::<Vec<_>>().as_slice())
        );
    }

    #[test]
    fn refuses_rubbish() {
        for text in ["", "{", "{}x", "[1,]", "{\"a\" 1}", "\"\\x\"", "+1", "nul", "\"\u{1}\"", "1e999", "{a:1}"] {
            assert_eq!(parse(text.as_bytes()), None, "{}", text);
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(parse(deep.as_bytes()), None);
    }

    #[test]
    fn never_panics_on_mutations() {
        let seed = br#"{"a":[1,2.5e3,"x\u00e9\ud83d\ude00"],"b":{"c":null,"d":true}}"#;
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..50_000 {
            let mut text = seed.to_vec();
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = (state % text.len() as u64) as usize;
                text[at] = (state >> 32) as u8;
            }
            let cut = (state >> 40) as usize % (text.len() + 1);
            let _ = parse(&text);
            let _ = parse(&text[..cut]);
        }
    }
}
