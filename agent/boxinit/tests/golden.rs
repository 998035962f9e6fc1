//! The bytes that keep the TypeScript codec and this one in step.

use boxinit::frame::{self, Header, Parsed};
use boxinit::json::{self, Value};

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

#[test]
fn the_golden_frames_are_ours_too() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test/golden/frames.json");
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(_) => return,
    };
    let frames = match json::parse(&text) {
        Some(Value::Array(frames)) => frames,
        _ => panic!("{} is not a list", path),
    };
    assert!(!frames.is_empty());
    for golden in &frames {
        let name = golden.text("name").expect("name");
        let payload = unhex(golden.text("payloadHex").expect("payload"));
        let bytes = unhex(golden.text("hex").expect("hex"));
        let header = Header {
            kind: golden.uint("type").expect("type") as u8,
            flags: golden.uint("flags").expect("flags") as u8,
            channel: golden.uint("channel").expect("channel") as u16,
            stream: golden.uint("stream").expect("stream") as u32,
            length: payload.len(),
        };
        assert_eq!([header.encode().to_vec(), payload.clone()].concat(), bytes, "{}", name);
        assert_eq!(frame::parse(&bytes), Parsed::Frame(header, &payload, bytes.len()), "{}", name);
    }
}
