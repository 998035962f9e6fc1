//! A sandbox's network interface. The agent moves it into the network namespace; boxinit sets its address and default
//! route, so that no program has to enter the namespace from outside.

use super::failed;
use crate::error::WireError;
use crate::json::Value;
use crate::sys::{io, net, EAFNOSUPPORT};
use std::net::Ipv4Addr;

/// The kernel truncates longer names.
const MAX_NAME: usize = 15;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const REQUEST_ACK: u16 = 1 | 4;
const CREATE_EXCLUSIVE: u16 = 0x400 | 0x200;
const ERROR: u16 = 2;
const HEADER: usize = 16;

const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const IFF_UP: u32 = 1;
const LINK_FAMILIES: u16 = 26;
const LINK_6_ADDRESSES: u16 = 8;
const NO_ADDRESSES: u8 = 1;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ROUTE_CARD: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const MAIN_TABLE: u8 = 254;
const SET_AT_START: u8 = 3;
const UNICAST: u8 = 1;

pub struct Card {
    name: Vec<u8>,
    address: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
}

impl Card {
    /// None if the claim has no interface.
    pub fn parse(open: &Value) -> Result<Option<Card>, WireError> {
        let card = match open.get("card") {
            Some(card) => card,
            None => return Ok(None),
        };
        let address = |key: &str| card.text(key).and_then(|text| text.parse().ok());
        let parsed = || {
            let name = card.bytes("name").filter(|name| !name.is_empty() && name.len() <= MAX_NAME)?.to_vec();
            let prefix = card.uint("prefix").filter(|prefix| *prefix <= 32)? as u8;
            Some(Card { name, address: address("address")?, prefix, gateway: address("gateway")? })
        };
        parsed().map(Some).ok_or_else(|| WireError::invalid("the card is not as it should be"))
    }

    /// Needs CAP_NET_ADMIN.
    pub fn set_up(&self) -> Result<(), WireError> {
        let index = net::interface_index(&self.name).map_err(|errno| failed("there is no network card", errno))?;
        let socket = net::route_socket().map_err(|errno| failed("the kernel cannot be asked for a network", errno))?;
        // Without IPv6 there is nothing to disable.
        match ask(&socket, disable_ipv6(index)) {
            Ok(()) | Err(EAFNOSUPPORT) => {}
            Err(errno) => return Err(failed("the card would take an address of its own", errno)),
        }
        ask(&socket, self.address(index)).map_err(|errno| failed("the card gets no address", errno))?;
        ask(&socket, up(index)).map_err(|errno| failed("the card cannot be switched on", errno))?;
        ask(&socket, self.default_route(index)).map_err(|errno| failed("the card has no way out", errno))
    }

    fn address(&self, index: u32) -> Vec<u8> {
        let mut body = vec![AF_INET, self.prefix, 0, 0];
        body.extend(index.to_ne_bytes());
        attribute(&mut body, ADDRESS_LOCAL, &self.address.octets());
        attribute(&mut body, ADDRESS, &self.address.octets());
        message(NEW_ADDRESS, REQUEST_ACK | CREATE_EXCLUSIVE, &body)
    }

    /// The default route, through the gateway.
    fn default_route(&self, index: u32) -> Vec<u8> {
        let mut body = vec![AF_INET, 0, 0, 0, MAIN_TABLE, SET_AT_START, 0, UNICAST, 0, 0, 0, 0];
        attribute(&mut body, ROUTE_GATEWAY, &self.gateway.octets());
        attribute(&mut body, ROUTE_CARD, &index.to_ne_bytes());
        message(NEW_ROUTE, REQUEST_ACK | CREATE_EXCLUSIVE, &body)
    }
}

/// The firewall rules cover IPv4 only, so no IPv6 address may exist that would bypass them.
fn disable_ipv6(index: u32) -> Vec<u8> {
    let mut how = Vec::new();
    attribute(&mut how, LINK_6_ADDRESSES, &[NO_ADDRESSES]);
    let mut family = Vec::new();
    attribute(&mut family, AF_INET6, &how);
    let mut body = link(index, 0);
    attribute(&mut body, LINK_FAMILIES, &family);
    message(NEW_LINK, REQUEST_ACK, &body)
}

fn up(index: u32) -> Vec<u8> {
    message(NEW_LINK, REQUEST_ACK, &link(index, IFF_UP))
}

/// `struct ifinfomsg`: sets these flags and leaves the others unchanged.
fn link(index: u32, on: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(on.to_ne_bytes());
    body.extend(on.to_ne_bytes());
    body
}

/// `struct nlattr` and its value, padded to a multiple of four.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize((body.len() + 3) & !3, 0);
}

/// `struct nlmsghdr` and its payload.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend_from_slice(body);
    message
}

/// The kernel's answer is available as soon as the write returns.
fn ask(socket: &io::Fd, message: Vec<u8>) -> Result<(), i32> {
    io::write(socket.raw(), &message)?;
    let mut answer = [0; 4096];
    let len = io::read(socket.raw(), &mut answer)?;
    outcome(&answer[..len])
}

fn outcome(answer: &[u8]) -> Result<(), i32> {
    let number = |at: usize| Some(i32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match (kind, number(HEADER)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(error)) => Err(-error),
        _ => Err(crate::sys::EIO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn card(text: &str) -> Result<Option<Card>, WireError> {
        Card::parse(&parse(text.as_bytes()).expect("json"))
    }

    #[test]
    fn an_incomplete_card_is_refused_and_a_missing_one_is_none() {
        assert!(matches!(card("{}"), Ok(None)));
        let whole = r#"{"card":{"name":"eth0","address":"10.1.2.3","prefix":16,"gateway":"10.1.0.1"}}"#;
        assert!(matches!(card(whole), Ok(Some(_))));
        for (from, to) in [("eth0", ""), ("eth0", "a-name-that-is-long"), ("10.1.2.3", "10.1.2"), ("16", "33")] {
            assert!(card(&whole.replace(from, to)).is_err(), "{} for {}", to, from);
        }
    }

    #[test]
    fn messages_state_their_length_and_their_parts_are_aligned_to_four_bytes() {
        let card = card(r#"{"card":{"name":"e","address":"10.1.2.3","prefix":16,"gateway":"10.1.0.1"}}"#);
        let card = card.expect("card").expect("card");
        for message in [card.address(7), card.default_route(7), up(7), disable_ipv6(7)] {
            assert_eq!(u32::from_ne_bytes(message[..4].try_into().expect("four")) as usize, message.len());
            assert_eq!(message.len() % 4, 0);
        }
        assert_eq!(&card.address(7)[HEADER..HEADER + 16], [2, 16, 0, 0, 7, 0, 0, 0, 8, 0, 2, 0, 10, 1, 2, 3]);
    }

    #[test]
    fn an_answer_is_an_acknowledgement_an_error_or_invalid() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = message(kind, 0, &error.to_ne_bytes());
            bytes.extend([0; 16]);
            bytes
        };
        assert_eq!(outcome(&answer(ERROR, 0)), Ok(()));
        assert_eq!(outcome(&answer(ERROR, -17)), Err(17));
        assert_eq!(outcome(&answer(3, 0)), Err(crate::sys::EIO));
        assert_eq!(outcome(&[]), Err(crate::sys::EIO));
    }
}
