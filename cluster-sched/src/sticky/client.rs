//! A client's hash.

use core::net::IpAddr;

/// Between the words of an IPv6 address: odd, so that no bit of a word is lost.
pub(crate) const BETWEEN: u32 = 0x9E37_79B1;
/// The third word of `::ffff:a.b.c.d`.
pub(crate) const MAPPED: u32 = 0x0000_FFFF;
/// The finalizer's factors.
pub(crate) const FIRST: u32 = 0x85EB_CA6B;
pub(crate) const SECOND: u32 = 0xC2B2_AE35;

/// A 32-bit hash of a client's address; the port is no part of it.
///
/// An IPv4 client has the same hash on a dual-stack socket, where its address is `::ffff:a.b.c.d`.
///
/// It is no secret and has no key: a client that owns many addresses can choose those of one slot.
///
/// # The arithmetic
///
/// All of it in 32 bits, wrapping. `w0` to `w3` are the words of the address *as numbers*: loaded in
/// network byte order (`LD_ABS` does that; after a plain load on a little-endian machine, swap).
/// An IPv4 address is the one word `w3`.
///
/// ```text
/// IPv6:  h = w0                                           IPv4:  h = w3
///        h = (h ^ (h >> 16)) * 0x9E3779B1  ^  w1
///        h = (h ^ (h >> 16)) * 0x9E3779B1  ^  w2  ^  0x0000FFFF
///        h = (h ^ (h >> 16)) * 0x9E3779B1  ^  w3
///
/// both:  h = h ^ (h >> 16)                 (murmur3's finalizer: one to one, and every bit of the
///        h = h * 0x85EBCA6B                 address changes every bit of the hash in half of all
///        h = h ^ (h >> 13)                  cases)
///        h = h * 0xC2B2AE35
///        h = h ^ (h >> 16)
/// ```
///
/// The `0x0000FFFF` makes the first three words of a mapped address vanish. Without the shifts in
/// between, the highest bits of all four words would be one and the same.
#[must_use]
pub const fn client_of(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => finish(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let mut hash = (bits >> 96) as u32;
            hash = spread(hash) ^ (bits >> 64) as u32;
            hash = spread(hash) ^ (bits >> 32) as u32 ^ MAPPED;
            hash = spread(hash) ^ bits as u32;
            finish(hash)
        }
    }
}

/// What is done to the hash of some words before the next comes in.
const fn spread(hash: u32) -> u32 {
    (hash ^ (hash >> 16)).wrapping_mul(BETWEEN)
}

/// The finalizer of murmur3 for 32 bits.
pub(crate) const fn finish(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(FIRST);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(SECOND);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::collections::BTreeSet;

    fn of(address: &str) -> u32 {
        client_of(address.parse().unwrap())
    }

    /// Another implementation must produce these values.
    #[test]
    fn fixed_vectors() {
        for (address, hash) in [
            ("0.0.0.0", 0x0000_0000),
            ("127.0.0.1", 0xC44A_808B),
            ("127.0.0.2", 0x7378_5A27),
            ("192.0.2.1", 0xD742_3D9E),
            ("255.255.255.255", 0x81F1_6F39),
            ("::", 0x0A2A_DAE4),
            ("::1", 0xD78F_DEA4),
            ("2001:db8::1", 0x76B6_4C59),
            ("2001:db8:1:2:3:4:5:6", 0x038E_849E),
            ("fe80::1234:5678:9abc:def0", 0x99F6_7A10),
        ] {
            assert_eq!(of(address), hash, "{address} gives {:#010x}", of(address));
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        for bits in [0, 1, 0x7F00_0001, 0xC000_0201, u32::MAX] {
            let four = Ipv4Addr::from_bits(bits);
            let six = four.to_ipv6_mapped();
            assert_eq!(client_of(IpAddr::V4(four)), client_of(IpAddr::V6(six)));
        }
    }

    #[test]
    fn every_word_of_an_address_counts() {
        let bits = 0x2001_0db8_0001_0002_0003_0004_0005_0006_u128;
        let hashes: BTreeSet<u32> = (0..128)
            .map(|bit| client_of(IpAddr::V6(Ipv6Addr::from_bits(bits ^ 1 << bit))))
            .chain([client_of(IpAddr::V6(Ipv6Addr::from_bits(bits)))])
            .collect();
        assert_eq!(hashes.len(), 129);
    }
}
