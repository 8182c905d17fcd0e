//! The program that is tried, and then executed: the same open file, whatever becomes of its path.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, open};

/// A program's file, held open.
#[derive(Debug)]
pub(crate) struct Candidate {
    file: File,
    /// A script is read by its interpreter, by the descriptor's number.
    is_script: bool,
    as_opened: Content,
}

/// By which a change of the file shows: size, and the times of the last changes.
#[derive(Debug, PartialEq, Eq)]
struct Content(u64, (i64, i64), (i64, i64));

impl Candidate {
    /// # Errors
    /// If there is no such file, or it is no regular one.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Not to be read, but executed: it may be a file that may only be executed, or a pipe.
        #[cfg(target_os = "linux")]
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        #[cfg(not(target_os = "linux"))]
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(open(path, flags, Mode::empty())?);
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        // The same file, to be read.
        #[cfg(target_os = "linux")]
        let readable = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        #[cfg(not(target_os = "linux"))]
        let readable = file.try_clone();
        let mut start = [0; 2];
        // One that cannot be read is no script either: its interpreter could not.
        let is_script =
            readable.is_ok_and(|mut file| file.read_exact(&mut start).is_ok() && start == *b"#!");
        let as_opened = content(&file)?;
        Ok(Self { file, is_script, as_opened })
    }

    /// Its number, if it must stay open over the exec.
    pub(crate) fn stays_open(&self) -> Option<RawFd> {
        self.is_script.then(|| self.file.as_raw_fd())
    }

    pub(super) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// # Errors
    /// If something has been written to the file since it was opened.
    pub(super) fn is_unchanged(&self) -> io::Result<()> {
        match content(&self.file)? == self.as_opened {
            true => Ok(()),
            false => Err(io::Error::other("the program's file was changed during its trial")),
        }
    }
}

fn content(file: &File) -> io::Result<Content> {
    let found = file.metadata()?;
    let modified = (found.mtime(), found.mtime_nsec());
    // A rename, or a link more, is no change of what is executed.
    Ok(Content(found.size(), modified, (found.dev().cast_signed(), found.ino().cast_signed())))
}

/// Texts for `execve`, made ready.
#[derive(Debug)]
pub(super) struct Texts {
    _texts: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: it owns what it points to, and neither changes.
#[expect(unsafe_code, reason = "pointers are neither by themselves")]
unsafe impl Send for Texts {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "pointers are neither by themselves")]
unsafe impl Sync for Texts {}

impl Texts {
    pub(super) fn new(texts: Vec<CString>) -> Self {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Self { _texts: texts, pointers }
    }
}

/// Executes that file in this process, and no shell in its place. It returns only if that could not be. It
/// makes a system call only.
#[expect(unsafe_code, reason = "no library executes by a descriptor without allocating")]
#[cfg(target_os = "linux")]
pub(super) fn execute(number: RawFd, arguments: &Texts, variables: &Texts) -> io::Error {
    // SAFETY: the texts end with a zero byte, their lists with a null pointer, and both live until the call
    // returns, if it does.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            number,
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            variables.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// As above, by the name that a descriptor has.
#[expect(unsafe_code, reason = "no library executes by a descriptor without allocating")]
#[cfg(not(target_os = "linux"))]
pub(super) fn execute(number: RawFd, arguments: &Texts, variables: &Texts) -> io::Error {
    let mut path = *b"/dev/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (mut digits, mut rest) = ([0u8; 10], number.unsigned_abs());
    let mut count = 0;
    loop {
        digits[count] = b'0' + (rest % 10) as u8;
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    for at in 0..count {
        path[8 + at] = digits[count - 1 - at];
    }
    // SAFETY: as above; the path ends with a zero byte.
    unsafe {
        libc::execve(path.as_ptr().cast(), arguments.pointers.as_ptr(), variables.pointers.as_ptr())
    };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_candidates_and_a_change_shows() {
        let folder = std::env::temp_dir().join(format!("cluster-candidate-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Candidate::open(&folder).expect_err("a folder");
        Candidate::open(&folder.join("none")).expect_err("there is none");
        let pipe = folder.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, 0o755.into(), 0).unwrap();
        Candidate::open(&pipe).expect_err("a pipe");
        let script = folder.join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let candidate = Candidate::open(&script).unwrap();
        assert_eq!(candidate.stays_open(), Some(candidate.number()));
        candidate.is_unchanged().unwrap();
        std::fs::rename(&script, folder.join("renamed")).unwrap();
        candidate.is_unchanged().unwrap();
        std::fs::write(folder.join("renamed"), "#!/bin/sh\nexit 1\n").unwrap();
        candidate.is_unchanged().expect_err("it was written to");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
