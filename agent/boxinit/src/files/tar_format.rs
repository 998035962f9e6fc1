//! The tar format: pax when writing; pax, ustar and GNU when reading.

pub const BLOCK: usize = 512;

pub const FILE: u8 = b'0';
pub const HARD_LINK: u8 = b'1';
pub const SYMLINK: u8 = b'2';
pub const CHARACTER: u8 = b'3';
pub const BLOCK_DEVICE: u8 = b'4';
pub const DIRECTORY: u8 = b'5';
pub const FIFO: u8 = b'6';
pub const PAX: u8 = b'x';
pub const PAX_GLOBAL: u8 = b'g';
pub const GNU_NAME: u8 = b'L';
pub const GNU_TARGET: u8 = b'K';

/// Largest numbers that fit in a header's octal fields.
const MAX_ID: u64 = 0o7777777;
const MAX_SIZE: u64 = 0o77777777777;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    pub kind: u8,
    pub name: Vec<u8>,
    pub target: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub modified_s: i64,
    pub device: (u32, u32),
}

/// Bytes that fill up the last block of `size`.
pub fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{:0width$o}", value, width = digits);
    field[..digits].copy_from_slice(&text.as_bytes()[text.len() - digits..]);
}

fn copy(field: &mut [u8], text: &[u8]) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
}

fn block(member: &Member, out: &mut Vec<u8>) {
    let mut header = [0u8; BLOCK];
    copy(&mut header[0..100], &member.name);
    octal(&mut header[100..108], u64::from(member.mode & 0o7777));
    octal(&mut header[108..116], u64::from(member.uid).min(MAX_ID));
    octal(&mut header[116..124], u64::from(member.gid).min(MAX_ID));
    octal(&mut header[124..136], member.size.min(MAX_SIZE));
    octal(&mut header[136..148], (member.modified_s.max(0) as u64).min(MAX_SIZE));
    header[156] = member.kind;
    copy(&mut header[157..257], &member.target);
    header[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut header[329..337], u64::from(member.device.0));
    octal(&mut header[337..345], u64::from(member.device.1));
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut header[148..155], sum);
    out.extend_from_slice(&header);
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{} {}=", length, key).as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A member's header, preceded by an extended one if it does not fit.
pub fn encode(member: &Member, out: &mut Vec<u8>) {
    let mut extended = Vec::new();
    if member.name.len() > 100 {
        record("path", &member.name, &mut extended);
    }
    if member.target.len() > 100 {
        record("linkpath", &member.target, &mut extended);
    }
    if member.size > MAX_SIZE {
        record("size", member.size.to_string().as_bytes(), &mut extended);
    }
    if u64::from(member.uid) > MAX_ID {
        record("uid", member.uid.to_string().as_bytes(), &mut extended);
    }
    if u64::from(member.gid) > MAX_ID {
        record("gid", member.gid.to_string().as_bytes(), &mut extended);
    }
    if member.modified_s < 0 {
        record("mtime", member.modified_s.to_string().as_bytes(), &mut extended);
    }
    if !extended.is_empty() {
        let size = extended.len() as u64;
        block(&Member { kind: PAX, name: b"pax".to_vec(), mode: 0o644, size, ..Member::default() }, out);
        out.extend_from_slice(&extended);
        out.extend(std::iter::repeat(0).take(padding(size)));
    }
    block(member, out);
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        // GNU's base 256. What does not fit in 63 bits is not a real size.
        let mut value = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            if value >> 55 != 0 {
                return None;
            }
            value = value << 8 | u64::from(*byte);
        }
        return Some(value);
    }
    let digits = std::str::from_utf8(text(field)).ok()?.trim_matches(' ');
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

/// As `number`, but may be negative in GNU's base 256: times before 1970.
fn signed(field: &[u8]) -> Option<i64> {
    let (above, low) = field.split_at(field.len() - 8);
    if !above.iter().all(|byte| *byte == 0xff) {
        return i64::try_from(number(field)?).ok();
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(low);
    Some(i64::from_be_bytes(bytes)).filter(|value| *value < 0)
}

/// None if the block is not a header.
pub fn decode(header: &[u8; BLOCK]) -> Option<Member> {
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let sum = sum - header[148..156].iter().map(|byte| u64::from(*byte)).sum::<u64>() + 8 * 32;
    if number(&header[148..156])? != sum {
        return None;
    }
    let mut name = text(&header[0..100]).to_vec();
    if &header[257..263] == b"ustar\0" && header[345] != 0 {
        name = [text(&header[345..500]), b"/", &name].concat();
    }
    let kind = match header[156] {
        0 | b'7' if name.last() == Some(&b'/') => DIRECTORY,
        0 | b'7' => FILE,
        kind => kind,
    };
    Some(Member {
        kind,
        name,
        target: text(&header[157..257]).to_vec(),
        mode: (number(&header[100..108])? & 0o7777) as u32,
        uid: u32::try_from(number(&header[108..116])?).ok()?,
        gid: u32::try_from(number(&header[116..124])?).ok()?,
        size: number(&header[124..136])?,
        modified_s: signed(&header[136..148])?,
        device: (number(&header[329..337]).unwrap_or(0) as u32, number(&header[337..345]).unwrap_or(0) as u32),
    })
}

/// The (key, value) pairs of an extended header. None if it is malformed.
pub fn records(mut data: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let space = data.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return None;
        }
        let pair = &data[space + 1..length - 1];
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        found.push((pair[..equals].to_vec(), pair[equals + 1..].to_vec()));
        data = &data[length..];
    }
    Some(found)
}

/// Whether GNU tar has packed only a sparse file's data, preceded by a map of where it goes.
pub fn is_sparse(records: &[(Vec<u8>, Vec<u8>)]) -> bool {
    records.iter().any(|(key, _)| key.starts_with(b"GNU.sparse."))
}

/// Overrides the header's own values.
pub fn apply(member: &mut Member, records: &[(Vec<u8>, Vec<u8>)]) -> Option<()> {
    for (key, value) in records {
        let digits = || std::str::from_utf8(value).ok();
        match key.as_slice() {
            b"path" => member.name = value.clone(),
            b"linkpath" => member.target = value.clone(),
            b"size" => member.size = digits()?.parse().ok()?,
            b"uid" => member.uid = digits()?.parse().ok()?,
            b"gid" => member.gid = digits()?.parse().ok()?,
            b"mtime" => member.modified_s = digits()?.parse::<f64>().ok()?.floor() as i64,
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(bytes: &[u8]) -> Member {
        let block = |at: usize| {
            let mut block = [0; BLOCK];
            block.copy_from_slice(&bytes[at..at + BLOCK]);
            block
        };
        let first = decode(&block(0)).expect("header");
        if first.kind != PAX {
            return first;
        }
        let extended = records(&bytes[BLOCK..BLOCK + first.size as usize]).expect("records");
        let mut member = decode(&block(BLOCK + first.size as usize + padding(first.size))).expect("header");
        apply(&mut member, &extended).expect("valid");
        member
    }

    #[test]
    fn written_headers_are_read_back() {
        for (name, target, size, uid) in [
            (b"a/b".to_vec(), Vec::new(), 5, 0),
            (vec![b'n'; 300], vec![b't'; 101], 0, 4_000_000_000),
            (b"\xff\xfe odd\nname".to_vec(), Vec::new(), 9_000_000_000_000, 7),
            (vec![b'x'; 100], vec![b'y'; 100], 1, 1),
        ] {
            let member = Member {
                kind: FILE,
                name,
                target,
                mode: 0o4755,
                uid,
                gid: 12,
                size,
                modified_s: 1_700_000_000,
                device: (0, 0),
            };
            let mut bytes = Vec::new();
            encode(&member, &mut bytes);
            assert_eq!(bytes.len() % BLOCK, 0);
            assert_eq!(read_back(&bytes), member);
        }
    }

    #[test]
    fn record_lengths_include_themselves() {
        for length in 0..1200 {
            let mut out = Vec::new();
            record("path", &vec![b'a'; length], &mut out);
            assert_eq!(records(&out).expect("valid")[0].1.len(), length);
        }
    }

    #[test]
    fn corruption_is_detected() {
        let mut bytes = Vec::new();
        encode(&Member { kind: FILE, name: b"a".to_vec(), ..Member::default() }, &mut bytes);
        let mut block = [0; BLOCK];
        block.copy_from_slice(&bytes);
        block[3] = b'x';
        assert_eq!(decode(&block), None);
        for text in ["5", "0 a=b\n", "99 a=b\n", "6 a=bc", "x a=b\n", "3 \n"] {
            assert_eq!(records(text.as_bytes()), None, "{}", text);
        }
    }
}
