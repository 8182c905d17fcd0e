//! One instruction.

/// An instruction of the kernel's virtual machine (eBPF), with the fields of its `struct bpf_insn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// What is done.
    pub code: u8,
    /// The register that it is done to.
    pub dst: u8,
    /// The register that it is done with.
    pub src: u8,
    /// A distance: of memory from a register in bytes, or of a jump in instructions.
    pub off: i16,
    /// A number.
    pub imm: i32,
}

impl Insn {
    /// As the kernel of this machine takes it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        // The two registers are bit fields, whose order is the machine's.
        let registers = if cfg!(target_endian = "big") {
            self.dst << 4 | self.src
        } else {
            self.src << 4 | self.dst
        };
        let off = self.off.to_ne_bytes();
        let imm = self.imm.to_ne_bytes();
        [self.code, registers, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }
}
