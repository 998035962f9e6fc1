//! The minimum of JSON that the wire needs. Strings are bytes: a lone surrogate U+DC80-U+DCFF stands for the byte
//! 0x80-0xff, in both directions, so that names that are not UTF-8 survive.

mod parse;
mod write;

pub use parse::parse;
pub use write::Writer;

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

    /// An integer from 0 to 2^53.
    pub fn uint(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(Value::Number(n)) if *n >= 0.0 && *n <= 9_007_199_254_740_992.0 && n.fract() == 0.0 => Some(*n as u64),
            _ => None,
        }
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Value::Number(n)) => Some(*n),
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
    fn refuses_garbage() {
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
