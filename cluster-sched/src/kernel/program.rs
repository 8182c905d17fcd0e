//! The program that chooses a socket.

use super::assemble::{
    ADD, AND, Assembler, FRAME, JEQ, JGT, JNE, LSH, MOD, MOV, MUL, R0, R1, R2, R3, R4, R5, R6, R7,
    R8, R9, RSH, XOR,
};
use super::choice::Choice;
use super::insn::Insn;
use super::table::capacity;
use super::table::{Maps, ROOM};
use crate::sticky::client as hash;
use alloc::vec::Vec;

// What the program returns.
const DROP: i32 = 0;
const PASS: i32 = 1;

// Functions of the kernel's.
const GET_PRANDOM_U32: i32 = 7;
const SKB_LOAD_BYTES: i32 = 26;
const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
const SK_SELECT_REUSEPORT: i32 = 82;
/// Offsets count from the IP header.
const HDR_START_NET: i32 = 1;

/// Where `struct sk_reuseport_md` has the EtherType, in network byte order.
const ETH_PROTOCOL: i16 = 20;
const ETH_P_IP: i32 = 0x0800_u16.to_be() as i32;
const ETH_P_IPV6: i32 = 0x86dd_u16.to_be() as i32;

// Where the IP header has the client's address.
const IPV4_SOURCE: i32 = 12;
const IPV6_SOURCE: i32 = 8;

/// The word of the TCP header that has the flags, and the flag of a first segment in it.
const TCP_FLAGS: i32 = 12;
const SYN: i32 = 0x0002_0000;

/// Where the key of the socket is kept, from the frame's top.
const KEY: i16 = -4;
/// Where what is read of the segment is kept.
const READ: i16 = -24;

/// The program for a group of sockets: of the type `BPF_PROG_TYPE_SK_REUSEPORT`, with the
/// descriptors of its maps in `maps`.
///
/// It runs once for each new connection, takes no lock and has no loop. A place without a socket
/// stands for the [`ROOM`]. It needs Linux 5.12, for the counter.
#[must_use]
pub fn program(choice: Choice, maps: Maps<i32>) -> Vec<Insn> {
    let mut a = Assembler::default();
    let (refuse, pass) = (a.label(), a.label());
    a.register(MOV, R6, R1); // the context
    a.map_value(R7, maps.table);
    a.load(R8, R7, 0); // how many entries there are
    a.jump_if(JEQ, R8, 0, refuse);
    match choice {
        Choice::RoundRobin => in_turns(&mut a, maps.counter),
        Choice::Random => at_random(&mut a),
        Choice::Sticky => by_client(&mut a),
    }
    // The index is in R1, and below the count; but the verifier has to see that it is in the table.
    a.jump_if(JGT, R1, capacity(choice).cast_signed() - 1, pass);
    a.number(LSH, R1, 2);
    a.register(ADD, R7, R1);
    a.load(R1, R7, 4);
    a.store(FRAME, KEY, R1);
    select(&mut a, maps.sockets);
    a.jump_if(JEQ, R0, 0, pass);
    a.store_number(FRAME, KEY, ROOM.cast_signed());
    select(&mut a, maps.sockets);
    a.place(pass);
    a.number(MOV, R0, PASS);
    a.exit();
    a.place(refuse);
    a.number(MOV, R0, DROP);
    a.exit();
    a.finish()
}

/// The index is that of the connection before, plus one.
///
/// The kernel asks for each segment that belongs to no connection it knows of, and not only a first
/// one is such: a last one can come when its connection is forgotten. It takes no slot's turn, or
/// about one connection in ten thousand would find that the turn before it was used up. Whichever
/// socket it reaches, it is refused; or accepted, if it carries a SYN cookie, and then any slot may get it.
fn in_turns(a: &mut Assembler, counter: i32) {
    let (turn, done) = (a.label(), a.label());
    a.register(MOV, R1, R6);
    a.number(MOV, R2, TCP_FLAGS);
    to_stack(a, 4);
    a.call(SKB_LOAD_BYTES);
    a.jump_if(JNE, R0, 0, turn);
    a.load(R1, FRAME, READ);
    a.network_order(R1);
    a.number(AND, R1, SYN);
    a.jump_if(JNE, R1, 0, turn);
    at_random(a);
    a.jump(done);
    a.place(turn);
    a.map_value(R2, counter);
    a.number(MOV, R1, 1);
    a.fetch_add(R2, R1);
    a.register(MOD, R1, R8);
    a.place(done);
}

/// The index is the high half of the product of a random number and the count.
fn at_random(a: &mut Assembler) {
    a.call(GET_PRANDOM_U32);
    a.register32(MOV, R1, R0);
    a.register(MUL, R1, R8);
    a.number(RSH, R1, 32);
}

/// The index is that of the client's bucket: [`client_of`](crate::sticky::client_of).
fn by_client(a: &mut Assembler) {
    let (six, finish) = (a.label(), a.label());
    // What cannot be read is one client.
    a.number(MOV, R9, 0);
    a.load(R1, R6, ETH_PROTOCOL);
    a.jump_if(JEQ, R1, ETH_P_IPV6, six);
    a.jump_if(JNE, R1, ETH_P_IP, finish);
    load_bytes(a, IPV4_SOURCE, 4);
    a.jump_if(JNE, R0, 0, finish);
    a.load(R9, FRAME, READ);
    a.network_order(R9);
    a.jump(finish);

    a.place(six);
    load_bytes(a, IPV6_SOURCE, 16);
    a.jump_if(JNE, R0, 0, finish);
    a.load(R9, FRAME, READ);
    a.network_order(R9);
    for word in 1..4 {
        shifted(a, 16);
        a.number32(MUL, R9, hash::BETWEEN);
        a.load(R1, FRAME, READ + 4 * word);
        a.network_order(R1);
        a.register32(XOR, R9, R1);
        if word == 2 {
            a.number32(XOR, R9, hash::MAPPED);
        }
    }

    a.place(finish);
    shifted(a, 16);
    a.number32(MUL, R9, hash::FIRST);
    shifted(a, 13);
    a.number32(MUL, R9, hash::SECOND);
    shifted(a, 16);
    a.register32(MOV, R1, R9);
    a.register32(MOD, R1, R8);
}

/// `r9 ^= r9 >> bits`.
fn shifted(a: &mut Assembler, bits: u32) {
    a.register32(MOV, R1, R9);
    a.number32(RSH, R1, bits);
    a.register32(XOR, R9, R1);
}

/// What is read, of that length, goes to [`READ`].
fn to_stack(a: &mut Assembler, length: i32) {
    a.register(MOV, R3, FRAME);
    a.number(ADD, R3, READ.into());
    a.number(MOV, R4, length);
}

/// Copies from the IP header to [`READ`]. Not zero if there is no such part of it.
fn load_bytes(a: &mut Assembler, offset: i32, length: i32) {
    a.register(MOV, R1, R6);
    a.number(MOV, R2, offset);
    to_stack(a, length);
    a.number(MOV, R5, HDR_START_NET);
    a.call(SKB_LOAD_BYTES_RELATIVE);
}

/// Chooses the socket of the place at [`KEY`]. Not zero if there is none.
fn select(a: &mut Assembler, sockets: i32) {
    a.register(MOV, R1, R6);
    a.map(R2, sockets);
    a.register(MOV, R3, FRAME);
    a.number(ADD, R3, KEY.into());
    a.number(MOV, R4, 0);
    a.call(SK_SELECT_REUSEPORT);
}
