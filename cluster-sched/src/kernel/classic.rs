//! What can be done without a privilege: classic BPF, which has neither maps nor memory.

use super::choice::Choice;
use super::table::{MAX_PLACES, ROOM};
use crate::sticky::client as hash;
use alloc::vec;
use alloc::vec::Vec;

/// The longest program (`BPF_MAXINSNS`).
const MAX_LENGTH: usize = 4096;

/// How many slots a classic program can choose among: its length is limited. Of more, those with the
/// highest numbers get nothing.
#[must_use]
pub const fn max_classic(choice: Choice) -> usize {
    match choice {
        Choice::RoundRobin | Choice::Random => (MAX_LENGTH - 3) / 2,
        Choice::Sticky => (MAX_LENGTH - 64) / 12,
    }
}

/// An instruction of the kernel's older virtual machine, with the fields of its `struct
/// sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicInsn {
    /// What is done.
    pub code: u16,
    /// How far to jump if it is so.
    pub jt: u8,
    /// How far to jump if it is not.
    pub jf: u8,
    /// A number.
    pub k: u32,
}

// Operations. `A` is the accumulator, `X` the other register.
const LD_ABS: u16 = 0x20;
const LD_IMM: u16 = 0x00;
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
const MUL_K: u16 = 0x24;
const RSH_K: u16 = 0x74;
const MOD_K: u16 = 0x94;
const XOR_K: u16 = 0xa4;
const XOR_X: u16 = 0xac;
const JA: u16 = 0x05;
const JEQ_K: u16 = 0x15;
const JGT_X: u16 = 0x2d;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;

// What an absolute load reads that no packet has so far.
const PROTOCOL: u32 = (-0x1000_i32).cast_unsigned();
const RANDOM: u32 = (-0x1000_i32 + 56).cast_unsigned();
/// From the IP header on.
const NET: u32 = (-0x10_0000_i32).cast_unsigned();
const ETH_P_IPV6: u32 = 0x86dd;

// Words of memory.
const CLIENT: u32 = 0;
const SCORE: u32 = 1;
const PLACE: u32 = 2;

/// The program for a group of sockets whose places are in the order in which they began to listen:
/// at random among the slots that are on (each with its place, in any order), or by the client's
/// address. Without any slot everything goes to the [`ROOM`]. It is attached again when that changes.
#[must_use]
pub fn classic(choice: Choice, on: impl IntoIterator<Item = (u32, u32)>) -> Vec<ClassicInsn> {
    let mut on: Vec<(u32, u32)> = on.into_iter().collect();
    on.sort_unstable();
    on.dedup();
    on.truncate(max_classic(choice));
    debug_assert!(on.iter().all(|&(_, place)| place < MAX_PLACES));
    match (&on[..], choice) {
        ([], _) => vec![op(RET_K, ROOM)],
        (&[(_, place)], _) => vec![op(RET_K, place)],
        (_, Choice::RoundRobin | Choice::Random) => by_lot(&on),
        (_, Choice::Sticky) => by_client(&on),
    }
}

/// Which slot a client has by [`classic`]: the one for which it draws the highest number, so that
/// only the clients of a slot that goes have to move. Not the same as that of
/// [`Buckets`](crate::sticky::Buckets), whose table a classic program could not hold.
#[must_use]
pub fn rendezvous(client: u32, slots: impl IntoIterator<Item = u32>) -> Option<u32> {
    let mut best = None;
    let mut slots: Vec<u32> = slots.into_iter().collect();
    slots.sort_unstable();
    for slot in slots {
        let score = draw(client, slot);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, slot));
        }
    }
    best.map(|(_, slot)| slot)
}

/// What a client draws for a slot.
const fn draw(client: u32, slot: u32) -> u32 {
    let mut score = (client ^ salt(slot)).wrapping_mul(hash::FIRST);
    score ^= score >> 15;
    score.wrapping_mul(hash::SECOND)
}

const fn salt(slot: u32) -> u32 {
    hash::finish(slot ^ hash::BETWEEN)
}

const fn op(code: u16, k: u32) -> ClassicInsn {
    ClassicInsn { code, jt: 0, jf: 0, k }
}

fn by_lot(on: &[(u32, u32)]) -> Vec<ClassicInsn> {
    let mut program = vec![op(LD_ABS, RANDOM), op(MOD_K, on.len() as u32)];
    for (at, &(_, place)) in on.iter().enumerate() {
        program.push(ClassicInsn { code: JEQ_K, jt: 0, jf: 1, k: at as u32 });
        program.push(op(RET_K, place));
    }
    // No remainder is left over, but a program has to end by returning.
    program.push(op(RET_K, ROOM));
    program
}

fn by_client(on: &[(u32, u32)]) -> Vec<ClassicInsn> {
    let mut program = client_hash();
    program.push(op(ST, CLIENT));
    // The first slot's score replaces this one, even if that is zero.
    program.extend([op(LD_IMM, 0), op(ST, SCORE)]);
    program.extend([op(LD_IMM, on[0].1), op(ST, PLACE)]);
    for &(slot, place) in on {
        program.extend([
            op(LD_MEM, CLIENT),
            op(XOR_K, salt(slot)),
            op(MUL_K, hash::FIRST),
            op(TAX, 0),
            op(RSH_K, 15),
            op(XOR_X, 0),
            op(MUL_K, hash::SECOND),
            op(LDX_MEM, SCORE),
            ClassicInsn { code: JGT_X, jt: 0, jf: 3, k: 0 },
            op(ST, SCORE),
            op(LD_IMM, place),
            op(ST, PLACE),
        ]);
    }
    program.extend([op(LD_MEM, PLACE), op(RET_A, 0)]);
    program
}

/// [`client_of`](crate::sticky::client_of), into the accumulator.
fn client_hash() -> Vec<ClassicInsn> {
    let shifted = |bits| [op(TAX, 0), op(RSH_K, bits), op(XOR_X, 0)];
    let mut six = vec![op(LD_ABS, NET + 8)];
    for word in 1..4 {
        six.extend(shifted(16));
        six.extend([op(MUL_K, hash::BETWEEN), op(ST, CLIENT)]);
        six.extend([op(LD_ABS, NET + 8 + 4 * word), op(LDX_MEM, CLIENT), op(XOR_X, 0)]);
        if word == 2 {
            six.push(op(XOR_K, hash::MAPPED));
        }
    }
    let four = vec![op(LD_ABS, NET + 12), op(JA, six.len() as u32)];
    let mut program = vec![op(LD_ABS, PROTOCOL)];
    program.push(ClassicInsn { code: JEQ_K, jt: four.len() as u8, jf: 0, k: ETH_P_IPV6 });
    program.extend(four);
    program.extend(six);
    program.extend(shifted(16));
    program.push(op(MUL_K, hash::FIRST));
    program.extend(shifted(13));
    program.push(op(MUL_K, hash::SECOND));
    program.extend(shifted(16));
    program
}
