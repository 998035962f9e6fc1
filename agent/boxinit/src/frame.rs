//! The frame used on every hop: 12 bytes, big-endian, then the payload. See docs/protocol.md and
//! src/protocol/frames.ts.

pub const HEADER_BYTES: usize = 12;
pub const MAX_DATA_BYTES: usize = 64 * 1024;
pub const MAX_CONTROL_BYTES: usize = 1024 * 1024;
pub const MAX_PING_BYTES: usize = 64;

pub const HELLO: u8 = 1;
pub const OPEN: u8 = 2;
pub const OPENED: u8 = 3;
pub const REFUSED: u8 = 4;
pub const DATA: u8 = 5;
pub const CREDIT: u8 = 6;
pub const EVENT: u8 = 7;
pub const FIN: u8 = 8;
pub const RESET: u8 = 9;
pub const PING: u8 = 10;
pub const PONG: u8 = 11;
pub const GOAWAY: u8 = 12;

/// A receiver may ignore the frame if it does not know its type.
pub const FLAG_OPTIONAL: u8 = 1;

pub const STDIN: u16 = 0;
pub const STDOUT: u16 = 1;
pub const STDERR: u16 = 2;
pub const PTY: u16 = 3;
pub const SCRIPT: u16 = 4;
pub const BYTES: u16 = 5;
/// The highest channel that carries DATA.
pub const MAX_CHANNEL: u16 = 31;
/// In a FIN: the whole direction.
pub const ALL: u16 = 0xffff;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub kind: u8,
    pub flags: u8,
    pub channel: u16,
    pub stream: u32,
    pub length: usize,
}

impl Header {
    pub fn new(kind: u8, channel: u16, stream: u32, length: usize) -> Header {
        Header { kind, flags: 0, channel, stream, length }
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0] = self.kind;
        out[1] = self.flags;
        out[2..4].copy_from_slice(&self.channel.to_be_bytes());
        out[4..8].copy_from_slice(&self.stream.to_be_bytes());
        out[8..12].copy_from_slice(&(self.length as u32).to_be_bytes());
        out
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A frame, and how many bytes it occupied.
    Frame(Header, &'a [u8], usize),
    /// This many bytes, counted from the start of the frame, are needed to continue.
    Need(usize),
    /// The peer broke the protocol; the link cannot continue.
    TooLong,
}

/// Parses the frame at the start of `input`. An illegal length is refused before its bytes arrive.
pub fn parse(input: &[u8]) -> Parsed<'_> {
    if input.len() < HEADER_BYTES {
        return Parsed::Need(HEADER_BYTES);
    }
    let word = |at: usize| u32::from_be_bytes([input[at], input[at + 1], input[at + 2], input[at + 3]]);
    let header = Header {
        kind: input[0],
        flags: input[1],
        channel: u16::from_be_bytes([input[2], input[3]]),
        stream: word(4),
        length: word(8) as usize,
    };
    let max = if header.kind == DATA { MAX_DATA_BYTES } else { MAX_CONTROL_BYTES };
    if header.length > max {
        return Parsed::TooLong;
    }
    let total = HEADER_BYTES + header.length;
    if input.len() < total {
        return Parsed::Need(total);
    }
    Parsed::Frame(header, &input[HEADER_BYTES..total], total)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);
    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        let mut random = Random(42);
        for _ in 0..200 {
            let mut wire = Vec::new();
            let mut sent = Vec::new();
            for _ in 0..20 {
                let payload: Vec<u8> = (0..random.next() % 3000).map(|i| i as u8).collect();
                let kind = 1 + (random.next() % 12) as u8;
                let header = Header {
                    kind,
                    flags: random.next() as u8,
                    channel: random.next() as u16,
                    stream: random.next() as u32,
                    length: payload.len(),
                };
                wire.extend_from_slice(&header.encode());
                wire.extend_from_slice(&payload);
                sent.push((header, payload));
            }
            let mut got = Vec::new();
            let mut buffer: Vec<u8> = Vec::new();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let take = (1 + random.next() as usize % 5000).min(rest.len());
                buffer.extend_from_slice(&rest[..take]);
                rest = &rest[take..];
                loop {
                    let used = match parse(&buffer) {
                        Parsed::Frame(header, payload, used) => {
                            got.push((header, payload.to_vec()));
                            used
                        }
                        Parsed::Need(bytes) => {
                            assert!(bytes > buffer.len());
                            break;
                        }
                        Parsed::TooLong => panic!("too long"),
                    };
                    buffer.drain(..used);
                }
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn random_bytes_never_panic_nor_request_too_much() {
        let mut random = Random(7);
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..random.next() % 40).map(|_| random.next() as u8).collect();
            match parse(&bytes) {
                Parsed::Frame(header, payload, used) => {
                    assert_eq!(payload.len(), header.length);
                    assert!(used <= bytes.len());
                }
                Parsed::Need(need) => assert!(need <= HEADER_BYTES + MAX_CONTROL_BYTES),
                Parsed::TooLong => {}
            }
        }
    }

    #[test]
    fn lengths_are_bounded_by_type() {
        let data = Header::new(DATA, 0, 2, MAX_DATA_BYTES + 1).encode();
        assert_eq!(parse(&data), Parsed::TooLong);
        let open = Header::new(OPEN, 0, 2, MAX_DATA_BYTES + 1).encode();
        assert_eq!(parse(&open), Parsed::Need(HEADER_BYTES + MAX_DATA_BYTES + 1));
        let open = Header::new(OPEN, 0, 2, MAX_CONTROL_BYTES + 1).encode();
        assert_eq!(parse(&open), Parsed::TooLong);
    }
}
