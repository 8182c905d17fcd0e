//! Instructions one after the other, and jumps to what comes later.

use super::insn::Insn;
use alloc::vec::Vec;

// Registers. The first to fifth are a call's arguments; a call spoils them. The frame's top is 10.
pub(super) const R0: u8 = 0;
pub(super) const R1: u8 = 1;
pub(super) const R2: u8 = 2;
pub(super) const R3: u8 = 3;
pub(super) const R4: u8 = 4;
pub(super) const R5: u8 = 5;
pub(super) const R6: u8 = 6;
pub(super) const R7: u8 = 7;
pub(super) const R8: u8 = 8;
pub(super) const R9: u8 = 9;
pub(super) const FRAME: u8 = 10;

// Operations, to be combined with `W32` or `W64` and with `K` (a number) or `X` (a register).
pub(super) const ADD: u8 = 0x00;
pub(super) const MUL: u8 = 0x20;
pub(super) const AND: u8 = 0x50;
pub(super) const LSH: u8 = 0x60;
pub(super) const RSH: u8 = 0x70;
pub(super) const MOD: u8 = 0x90;
pub(super) const XOR: u8 = 0xa0;
pub(super) const MOV: u8 = 0xb0;
const W32: u8 = 0x04;
const W64: u8 = 0x07;
const X: u8 = 0x08;

/// `if dst == imm`.
pub(super) const JEQ: u8 = 0x15;
/// `if dst > imm`, without signs.
pub(super) const JGT: u8 = 0x25;
/// `if dst != imm`.
pub(super) const JNE: u8 = 0x55;
const JA: u8 = 0x05;

/// What `src` of a long load says that its number is.
const MAP: u8 = 1;
const MAP_VALUE: u8 = 2;

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Writes programs.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    insns: Vec<Insn>,
    /// Jumps, each with the label that it goes to.
    jumps: Vec<(usize, Label)>,
    /// Where each label is, once that is known.
    labels: Vec<Option<usize>>,
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.insns.len());
    }

    fn push(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push(Insn { code, dst, src, off, imm });
    }

    /// `dst = dst op imm`, in 64 bits.
    pub(super) fn number(&mut self, op: u8, dst: u8, imm: i32) {
        self.push(op | W64, dst, 0, 0, imm);
    }

    /// `dst = dst op src`, in 64 bits.
    pub(super) fn register(&mut self, op: u8, dst: u8, src: u8) {
        self.push(op | X | W64, dst, src, 0, 0);
    }

    /// `dst = dst op imm`, in 32 bits.
    pub(super) fn number32(&mut self, op: u8, dst: u8, imm: u32) {
        self.push(op | W32, dst, 0, 0, imm.cast_signed());
    }

    /// `dst = dst op src`, in 32 bits.
    pub(super) fn register32(&mut self, op: u8, dst: u8, src: u8) {
        self.push(op | X | W32, dst, src, 0, 0);
    }

    /// Turns 32 bits that are in network byte order into a number.
    pub(super) fn network_order(&mut self, dst: u8) {
        self.push(0xdc, dst, 0, 0, 32);
    }

    /// `dst = *(u32 *)(src + off)`.
    pub(super) fn load(&mut self, dst: u8, src: u8, off: i16) {
        self.push(0x61, dst, src, off, 0);
    }

    /// `*(u32 *)(dst + off) = src`.
    pub(super) fn store(&mut self, dst: u8, off: i16, src: u8) {
        self.push(0x63, dst, src, off, 0);
    }

    /// `*(u32 *)(dst + off) = imm`.
    pub(super) fn store_number(&mut self, dst: u8, off: i16, imm: i32) {
        self.push(0x62, dst, 0, off, imm);
    }

    /// `src = *(u64 *)dst; *(u64 *)dst += src`, at once, with the `src` from before.
    pub(super) fn fetch_add(&mut self, dst: u8, src: u8) {
        self.push(0xdb, dst, src, 0, 1);
    }

    /// `dst` is the map.
    pub(super) fn map(&mut self, dst: u8, map: i32) {
        self.push(0x18, dst, MAP, 0, map);
        self.push(0, 0, 0, 0, 0);
    }

    /// `dst` points to the only value of the map.
    pub(super) fn map_value(&mut self, dst: u8, map: i32) {
        self.push(0x18, dst, MAP_VALUE, 0, map);
        self.push(0, 0, 0, 0, 0);
    }

    /// Calls a function of the kernel's; the result is in the first register.
    pub(super) fn call(&mut self, function: i32) {
        self.push(0x85, 0, 0, 0, function);
    }

    pub(super) fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(JA, 0, 0, 0, 0);
    }

    /// Jumps if `dst` compares so with `imm`.
    pub(super) fn jump_if(&mut self, comparison: u8, dst: u8, imm: i32, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(comparison, dst, 0, 0, imm);
    }

    /// The program.
    ///
    /// # Panics
    /// If a label was not placed, or is too far away.
    pub(super) fn finish(mut self) -> Vec<Insn> {
        for (at, label) in self.jumps {
            let target = self.labels[label.0].expect("every label is placed");
            let off = target as isize - at as isize - 1;
            self.insns[at].off = off.try_into().expect("programs are short");
        }
        self.insns
    }
}
