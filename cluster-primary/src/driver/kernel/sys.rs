//! What no safe library has: `bpf(2)`, and three socket options.

#![allow(unsafe_code, reason = "the system is called directly")]

use std::ffi::CStr;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use cluster_sched::kernel::{ClassicInsn, Insn, MapKind, MapSpec};

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_REUSEPORT_SOCKARRAY: u32 = 20;
const PROG_TYPE_SK_REUSEPORT: u32 = 21;

/// Bytes of the verifier's log that are kept.
const LOG: usize = 64 << 10;
const LICENSE: &CStr = c"Dual MIT/GPL";

// The parts of `union bpf_attr` that are used. The kernel takes what is beyond them for zero.

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// # Safety
/// `attr` must be what the command takes, and what it points to must live, in the lengths that the
/// kernel derives from it.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads as many bytes as we say there are; the rest the caller promises.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of_val(attr))
    };
    RawFd::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}

/// A map.
#[derive(Debug)]
pub(super) struct Map {
    fd: OwnedFd,
    value_size: usize,
}

impl Map {
    pub(super) fn new(spec: MapSpec) -> io::Result<Self> {
        let map_type = match spec.kind {
            MapKind::Values => MAP_TYPE_ARRAY,
            MapKind::Sockets => MAP_TYPE_REUSEPORT_SOCKARRAY,
        };
        let MapSpec { value_size, max_entries, .. } = spec;
        let mut attr = MapCreate { map_type, key_size: 4, value_size, max_entries, map_flags: 0 };
        // SAFETY: `MAP_CREATE` takes these, and no pointers.
        let fd = unsafe { bpf(MAP_CREATE, &mut attr) }?;
        // SAFETY: the kernel has just made it, for us alone, close-on-exec.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, value_size: value_size as usize })
    }

    /// One that was made before, of that kind.
    pub(super) fn from_fd(fd: OwnedFd, spec: MapSpec) -> Self {
        Self { fd, value_size: spec.value_size as usize }
    }

    /// As programs name it.
    pub(super) fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Writes the value of a key.
    pub(super) fn update(&self, key: u32, value: &[u8]) -> io::Result<()> {
        assert_eq!(value.len(), self.value_size, "the kernel reads a whole value");
        let mut attr = MapUpdate {
            map: self.fd.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: value.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: keys have four bytes, the value as many as the map's have, and both live until
        // the call returns.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }?;
        Ok(())
    }

    /// Puts a socket in a place.
    pub(super) fn put(&self, place: u32, socket: impl AsFd) -> io::Result<()> {
        let fd = i64::from(socket.as_fd().as_raw_fd());
        self.update(place, &fd.to_ne_bytes())
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has the kernel check a program for groups of sockets.
///
/// # Errors
/// What is wrong, with the verifier's last words if it had any.
pub(super) fn load(program: &[Insn]) -> Result<OwnedFd, String> {
    let insns: Vec<[u8; 8]> = program.iter().map(|insn| insn.to_bytes()).collect();
    let mut log = vec![0_u8; LOG];
    let mut attempt = |log_level: u32| {
        let mut attr = ProgLoad {
            prog_type: PROG_TYPE_SK_REUSEPORT,
            insn_cnt: insns.len() as u32,
            insns: insns.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            log_level,
            log_size: if log_level == 0 { 0 } else { LOG as u32 },
            log_buf: if log_level == 0 { 0 } else { log.as_mut_ptr() as u64 },
            kern_version: 0,
            prog_flags: 0,
            prog_name: *b"cluster_slots\0\0\0",
        };
        // SAFETY: the pointers are those of vectors and of a C string that outlive the call, with
        // their own lengths.
        let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
        // SAFETY: the kernel has just made it, for us alone, close-on-exec.
        Ok::<_, io::Error>(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    // The log costs time, and a program that is right needs none.
    let error = match attempt(0) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    if error.raw_os_error() != Some(libc::EPERM) {
        // The error is the same, unless it was a signal that came in between.
        if let Ok(program) = attempt(1) {
            return Ok(program);
        }
    }
    let log = String::from_utf8_lossy(&log);
    let log: Vec<&str> = log.trim_end_matches(['\0', '\n']).lines().collect();
    let last = log[log.len().saturating_sub(4)..].join("; ");
    Err(if last.is_empty() { error.to_string() } else { format!("{error}: {last}") })
}

/// Has that program choose among the group that the socket is in.
pub(super) fn attach(socket: impl AsFd, program: &OwnedFd) -> io::Result<()> {
    let program: libc::c_int = program.as_raw_fd();
    set_option(socket, libc::SO_ATTACH_REUSEPORT_EBPF, &program)
}

/// Has that classic program choose among the group that the socket is in.
pub(super) fn attach_classic(socket: impl AsFd, program: &[ClassicInsn]) -> io::Result<()> {
    let mut filters: Vec<libc::sock_filter> = program
        .iter()
        .map(|&ClassicInsn { code, jt, jf, k }| libc::sock_filter { code, jt, jf, k })
        .collect();
    let length = filters.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filters.as_mut_ptr() };
    set_option(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Sets an option whose value is a `T`, and whatever that points to.
fn set_option<T>(socket: impl AsFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of_val(value) as libc::socklen_t;
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: the kernel reads `length` bytes of `value`; both callers give what the option takes,
    // and what it points to outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, option, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many connections of a listening socket have not been accepted.
pub(super) fn queue_length(socket: impl AsFd) -> io::Result<u32> {
    // The head of `struct tcp_info`: eight bytes, four numbers, then this one (`tcpi_unacked`).
    const BEFORE: usize = 24;
    let mut info = [0_u8; BEFORE + 4];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes `length` bytes at most, and there are as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let [.., a, b, c, d] = info;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn an_accept_queue_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clients: Vec<_> =
            (0..3).map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
        assert_eq!(queue_length(&listener).unwrap(), 3);
        drop(listener.accept().unwrap());
        assert_eq!(queue_length(&listener).unwrap(), 2);
        drop(clients);
    }

    #[test]
    fn what_the_verifier_says_of_a_wrong_program_is_told() {
        // It returns what it never wrote.
        let exit = Insn { code: 0x95, ..Insn::default() };
        let error = load(&[exit]).unwrap_err();
        // Without the privilege it is not even looked at.
        assert!(error.contains("R0") || error.contains("os error 1"), "{error}");
    }
}
