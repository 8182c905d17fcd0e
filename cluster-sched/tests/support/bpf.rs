//! Runs the programs of [`cluster_sched::kernel`]: the few instructions that they are made of, and
//! nothing else, as the kernel would. What it does not know, or what reaches beyond its memory, is a
//! panic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cluster_sched::kernel::{ClassicInsn, Insn, Maps};

pub(crate) const MAPS: Maps<i32> = Maps { table: 101, counter: 102, sockets: 103 };

const STACK: u64 = 0x1_0000;
const STACK_SIZE: usize = 512;
const CONTEXT: u64 = 0x2_0000;
const TABLE: u64 = 0x10_0000;
const COUNTER: u64 = 0x3_0000;
const NO_SUCH: u64 = (-2_i64).cast_unsigned();

// Flags of a TCP segment.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// That place has it.
    Place(u32),
    /// The kernel chooses by itself.
    Undecided,
    /// No slot has it.
    Refused,
}

/// A kernel with one group of sockets.
pub(crate) struct Kernel {
    memory: BTreeMap<u64, Vec<u8>>,
    /// Places that have a socket.
    pub(crate) sockets: BTreeSet<u32>,
    /// What random numbers come next.
    pub(crate) random: Box<dyn FnMut() -> u32>,
    /// The longest run so far, in instructions.
    pub(crate) steps: usize,
}

impl Kernel {
    pub(crate) fn new(table: &[u8], random: impl FnMut() -> u32 + 'static) -> Self {
        let memory = [
            (STACK, vec![0; STACK_SIZE]),
            (CONTEXT, vec![0; 56]),
            (TABLE, table.to_vec()),
            (COUNTER, vec![0; 8]),
        ];
        Self {
            memory: memory.into(),
            sockets: (0..64).collect(),
            random: Box::new(random),
            steps: 0,
        }
    }

    pub(crate) fn write_table(&mut self, table: &[u8]) {
        self.memory.insert(TABLE, table.to_vec());
    }

    pub(crate) fn write_counter(&mut self, count: u64) {
        self.memory.insert(COUNTER, count.to_ne_bytes().to_vec());
    }

    fn at(&mut self, address: u64, length: usize) -> &mut [u8] {
        let (start, bytes) = self.memory.range_mut(..=address).next_back().expect("mapped");
        let from = usize::try_from(address - start).unwrap();
        &mut bytes[from..from + length]
    }

    fn load(&mut self, address: u64, length: usize) -> u64 {
        let bytes = self.at(address, length);
        match length {
            4 => u32::from_ne_bytes(bytes.try_into().unwrap()).into(),
            8 => u64::from_ne_bytes(bytes.try_into().unwrap()),
            _ => unreachable!("no such load is known"),
        }
    }

    /// A client connects.
    pub(crate) fn connects(&mut self, program: &[Insn], client: IpAddr) -> Verdict {
        self.receives(program, client, SYN)
    }

    /// A segment with those flags comes, that belongs to no connection.
    pub(crate) fn receives(&mut self, program: &[Insn], client: IpAddr, flags: u8) -> Verdict {
        let packet = packet(client);
        let mut segment = [0x5a; 20];
        segment[13] = flags;
        let protocol = match client {
            IpAddr::V4(_) => 0x0800_u16,
            IpAddr::V6(_) => 0x86dd,
        };
        let protocol = u32::from(protocol.to_be()).to_ne_bytes();
        self.at(CONTEXT + 20, 4).copy_from_slice(&protocol);
        let mut chosen = None;
        let mut r = [0_u64; 11];
        r[1] = CONTEXT;
        r[10] = STACK + STACK_SIZE as u64;
        let (mut pc, mut steps) = (0, 0);
        loop {
            let insn = program[pc];
            let Insn { code, off, imm, .. } = insn;
            let (dst, src) = (usize::from(insn.dst), usize::from(insn.src));
            steps += 1;
            pc += 1;
            let number = i64::from(imm).cast_unsigned();
            let there = |base: u64| base.wrapping_add_signed(off.into());
            match code {
                // 64 bits, with a number or a register.
                0x07 => r[dst] = r[dst].wrapping_add(number),
                0x0f => r[dst] = r[dst].wrapping_add(r[src]),
                0x2f => r[dst] = r[dst].wrapping_mul(r[src]),
                0x57 => r[dst] &= number,
                0x67 => r[dst] <<= imm,
                0x77 => r[dst] >>= imm,
                0x9f => r[dst] = r[dst].checked_rem(r[src]).expect("the count is not zero"),
                0xb7 => r[dst] = number,
                0xbf => r[dst] = r[src],
                // 32 bits.
                0x24 => r[dst] = u64::from((r[dst] as u32).wrapping_mul(imm.cast_unsigned())),
                0x74 => r[dst] = u64::from((r[dst] as u32) >> imm),
                0x9c => r[dst] = u64::from((r[dst] as u32).checked_rem(r[src] as u32).unwrap()),
                0xa4 => r[dst] = u64::from(r[dst] as u32 ^ imm.cast_unsigned()),
                0xac => r[dst] = u64::from((r[dst] ^ r[src]) as u32),
                0xbc => r[dst] = u64::from(r[src] as u32),
                0xdc => {
                    assert_eq!(imm, 32);
                    r[dst] = u64::from((r[dst] as u32).to_be());
                }
                // Memory.
                0x61 => r[dst] = self.load(there(r[src]), 4),
                0x63 => {
                    let word = (r[src] as u32).to_ne_bytes();
                    self.at(there(r[dst]), 4).copy_from_slice(&word);
                }
                0x62 => self.at(there(r[dst]), 4).copy_from_slice(&imm.to_ne_bytes()),
                0xdb => {
                    assert_eq!(imm, 1, "the only atomic that is known is fetch-add");
                    let old = self.load(there(r[dst]), 8);
                    let new = old.wrapping_add(r[src]).to_ne_bytes();
                    self.at(there(r[dst]), 8).copy_from_slice(&new);
                    r[src] = old;
                }
                0x18 => {
                    let maps = [MAPS.table, MAPS.counter, MAPS.sockets];
                    let value = match (src, maps.iter().position(|&map| map == imm)) {
                        (2, Some(0)) => TABLE,
                        (2, Some(1)) => COUNTER,
                        (1, Some(2)) => number,
                        _ => panic!("no such use of a map: {insn:?}"),
                    };
                    assert_eq!(program[pc], Insn::default(), "a long load has two parts");
                    r[dst] = value;
                    pc += 1;
                }
                // Jumps: ahead only, so that every program ends.
                0x05 | 0x15 | 0x25 | 0x55 => {
                    assert!(off >= 0, "{insn:?}");
                    let jump = match code {
                        0x15 => r[dst] == number,
                        0x25 => r[dst] > number,
                        0x55 => r[dst] != number,
                        _ => true,
                    };
                    if jump {
                        pc += usize::try_from(off).unwrap();
                    }
                }
                0x85 => {
                    r[0] = match imm {
                        7 => u64::from((self.random)()),
                        26 => {
                            assert_eq!(r[1], CONTEXT);
                            let (from, length) = (r[2] as usize, r[4] as usize);
                            self.at(r[3], length).copy_from_slice(&segment[from..from + length]);
                            0
                        }
                        68 => {
                            assert_eq!((r[1], r[5]), (CONTEXT, 1));
                            let (from, length) = (r[2] as usize, r[4] as usize);
                            self.at(r[3], length).copy_from_slice(&packet[from..from + length]);
                            0
                        }
                        82 => {
                            assert_eq!((r[1], r[2], r[4]), (CONTEXT, MAPS.sockets as u64, 0));
                            let place = self.load(r[3], 4) as u32;
                            match self.sockets.contains(&place) {
                                true => {
                                    chosen = Some(place);
                                    0
                                }
                                false => NO_SUCH,
                            }
                        }
                        _ => panic!("no such function: {imm}"),
                    };
                    // A call spoils its arguments.
                    r[1..=5].fill(0xdead_dead_dead);
                }
                0x95 => break,
                _ => panic!("no such instruction: {insn:?}"),
            }
        }
        self.steps = self.steps.max(steps);
        match (r[0], chosen) {
            (0, _) => Verdict::Refused,
            (1, Some(place)) => Verdict::Place(place),
            (1, None) => Verdict::Undecided,
            _ => panic!("no such verdict: {}", r[0]),
        }
    }
}

/// The place that a classic program chooses.
pub(crate) fn run_classic(program: &[ClassicInsn], client: IpAddr, random: u32) -> u32 {
    let packet = packet(client);
    let (mut a, mut x, mut memory) = (0_u32, 0_u32, [None; 16]);
    let mut pc = 0;
    loop {
        let ClassicInsn { code, jt, jf, k } = program[pc];
        pc += 1;
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => {
                a = match k.cast_signed() {
                    -0x1000 => match client {
                        IpAddr::V4(_) => 0x0800,
                        IpAddr::V6(_) => 0x86dd,
                    },
                    -0x0fc8 => random,
                    net => {
                        let from = usize::try_from(net + 0x10_0000).unwrap();
                        u32::from_be_bytes(packet[from..from + 4].try_into().unwrap())
                    }
                };
            }
            0x00 => a = k,
            0x60 => a = memory[k as usize].expect("written before"),
            0x61 => x = memory[k as usize].expect("written before"),
            0x02 => memory[k as usize] = Some(a),
            0x24 => a = a.wrapping_mul(k),
            0x74 => a >>= k,
            0x94 => a %= k,
            0xa4 => a ^= k,
            0xac => a ^= x,
            0x07 => x = a,
            0x05 => pc += k as usize,
            0x15 => pc += jump(a == k),
            0x2d => pc += jump(a > x),
            0x06 => return k,
            0x16 => return a,
            _ => panic!("no such instruction: {:?}", program[pc - 1]),
        }
    }
}

/// The IP header of what such a client sends.
fn packet(client: IpAddr) -> Vec<u8> {
    match client {
        IpAddr::V4(client) => [&[0x45; 12], &client.octets()[..], &[127, 0, 0, 1]].concat(),
        IpAddr::V6(client) => [&[0x60; 8], &client.octets()[..], &[1; 16]].concat(),
    }
}
