//! Bounds how long a system call of this thread can block: a timer's signal ends it.
//!
//! A worker can make calls of the primary block, and no flag prevents that. To close a socket with
//! `SO_LINGER` and unsent data waits for its peer; so does each call by which the kernel drops the
//! last reference to such a socket: a read from, and the close of, a socket in which one is queued.
//! `accept` blocks on a listener whose other owner has cleared `O_NONBLOCK`. All these waits end at
//! once when a signal with a handler arrives. So while a thread is [`bounded`], a timer sends it a
//! signal every [`PERIOD`]: a call blocks for no longer.
//!
//! The timer is not set and stopped around each call, which would cost two system calls each: it
//! stops itself when its signal finds the thread not bounded any more. So a thread that is often
//! bounded pays for one signal per period, and one that was bounded gets at most one more signal,
//! within a period.
//!
//! The signal is `SIGURG`, which does nothing in a program without a handler for it. If the program
//! has one, the first real-time signal without a handler is taken instead. Linux only; elsewhere
//! calls are measured and nothing ends them.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest that a call blocks in a thread with the timer of the primary's loop.
pub(super) const PERIOD: Duration = Duration::from_millis(20);

/// A call that took so long, with a signal during it, may have been interrupted. The clock that is read
/// is a few milliseconds coarse.
const SLOW: Duration = Duration::from_millis(12);

/// For so long after a slow call it is determined of each whether the thread slept in it.
const ATTENTIVE_FOR: Duration = Duration::from_secs(10);

/// As long as it exists, a system call of this thread blocks for no longer than a period: a timer's
/// signal interrupts it. See [`bounded_calls`].
#[must_use = "calls are bounded as long as it exists"]
#[derive(Debug)]
pub struct Bounded {
    before: bool,
    /// It belongs to this thread.
    thread: PhantomData<*const ()>,
}

/// Bounds the calls of this thread, for loops that read or close what other processes have sent: to
/// close a descriptor, or to read where one is dropped, can block for as long as its sender likes. (A
/// [`Primary`](crate::Primary) and a `ControlServer` (of the crate `cluster-control`) do it
/// themselves, for as long as each of their methods takes.)
///
/// A call that blocks for 20 ms returns `EINTR`, or what it has done so far. On Linux only; elsewhere
/// nothing happens. The signal is `SIGURG`, or the first real-time signal without a handler if the
/// program handles `SIGURG`; it may come once more, within 20 ms, when the bound is over.
pub fn bounded_calls() -> Bounded {
    bounded()
}

/// Bounds the calls of this thread; within another bound that changes nothing.
pub(super) fn bounded() -> Bounded {
    bounded_by(PERIOD)
}

/// As [`bounded`], by another period, which is the thread's from its first bound on.
pub(super) fn bounded_by(period: Duration) -> Bounded {
    Bounded { before: timer::begin(period), thread: PhantomData }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        timer::end(self.before);
    }
}

/// What is known of calls that can block.
///
/// On a busy machine a call is slow because something else runs, and that is not to be blamed on a
/// worker: only a call that the thread *slept* in was interrupted (a voluntary context switch, as the
/// kernel calls it). To ask the kernel before each call would cost more than many of the calls. So it
/// is asked for some seconds after each slow call; the first one is left undecided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CallLog {
    /// How many were interrupted.
    pub(super) interrupted: u64,
    /// How long the longest of these took, and of the undecided ones, to some milliseconds.
    pub(super) longest: Duration,
    /// Until when the kernel is asked.
    #[serde(skip)]
    attentive_until: Duration,
}

impl CallLog {
    pub(super) fn is_empty(&self) -> bool {
        (self.interrupted, self.longest) == (0, Duration::ZERO)
    }

    /// Makes a call; whether it was interrupted.
    pub(super) fn time<R>(&mut self, call: impl FnOnce() -> R) -> (R, bool) {
        let (ticks, begun) = (timer::ticks(), coarse_now());
        let sleeps = if begun < self.attentive_until { timer::sleeps() } else { None };
        let result = call();
        let interrupted = timer::ticks() != ticks && self.was_interrupted(begun, sleeps);
        (result, interrupted)
    }

    /// As [`time`](Self::time) for a call that says itself whether it was interrupted (`EINTR`).
    pub(super) fn time_if<R>(
        &mut self,
        call: impl FnOnce() -> R,
        was_interrupted: impl FnOnce(&R) -> bool,
    ) -> (R, bool) {
        let begun = coarse_now();
        let result = call();
        let interrupted = was_interrupted(&result);
        if interrupted {
            self.interrupted += 1;
            self.longest = self.longest.max(coarse_now().saturating_sub(begun));
        }
        (result, interrupted)
    }

    /// Of a call during which a signal came. (`sleeps`: how often the thread had slept before it.)
    #[cold]
    fn was_interrupted(&mut self, begun: Duration, sleeps: Option<u64>) -> bool {
        let now = coarse_now();
        let took = now.saturating_sub(begun);
        if took < SLOW {
            return false;
        }
        self.attentive_until = now + ATTENTIVE_FOR;
        let slept = sleeps.map(|before| timer::sleeps() != Some(before));
        if slept != Some(false) {
            self.longest = self.longest.max(took);
        }
        self.interrupted += u64::from(slept == Some(true));
        slept == Some(true)
    }
}

/// A clock that costs next to nothing, for durations.
fn coarse_now() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(CLOCK);
    // It counts up from the system's start.
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no crate has timers that signal a thread and can stop themselves")]
mod timer {
    use std::cell::{Cell, RefCell};
    use std::mem::zeroed;
    use std::ptr::null_mut;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
    use std::time::Duration;

    use libc::{c_int, c_void, siginfo_t};

    /// What the signal's handler reads and writes, of its own thread. It needs neither memory nor a
    /// destructor, so a handler may use it.
    struct State {
        bounded: AtomicBool,
        /// The timer is set.
        running: AtomicBool,
        /// The signals that came.
        ticks: AtomicU64,
        timer: AtomicPtr<c_void>,
    }

    thread_local! {
        static STATE: State = const {
            State {
                bounded: AtomicBool::new(false),
                running: AtomicBool::new(false),
                ticks: AtomicU64::new(0),
                timer: AtomicPtr::new(null_mut()),
            }
        };
        static TIMER: RefCell<Option<Timer>> = const { RefCell::new(None) };
        static PERIOD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// All is this thread's own, so the compiler's order is the only one that matters; this keeps it.
    const ORDER: Ordering = Ordering::SeqCst;

    /// This thread is bounded from here on; whether it was before.
    pub(super) fn begin(period: Duration) -> bool {
        let before = STATE.with(|state| state.bounded.swap(true, ORDER));
        if !STATE.with(|state| state.running.swap(true, ORDER)) && !start(period) {
            // It is tried again at the next bound.
            STATE.with(|state| state.running.store(false, ORDER));
        }
        before
    }

    pub(super) fn end(before: bool) {
        STATE.with(|state| state.bounded.store(before, ORDER));
    }

    pub(super) fn ticks() -> u64 {
        STATE.with(|state| state.ticks.load(ORDER))
    }

    /// How often this thread has slept.
    pub(super) fn sleeps() -> Option<u64> {
        use nix::sys::resource::{UsageWho, getrusage};
        let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
        u64::try_from(usage.voluntary_context_switches()).ok()
    }

    /// Sets the thread's timer, which is made if there is none; false if that cannot be.
    #[cold]
    fn start(period: Duration) -> bool {
        TIMER
            .try_with(|timer| {
                let Ok(mut timer) = timer.try_borrow_mut() else { return false };
                if timer.is_none() {
                    PERIOD.set(period);
                    *timer = Timer::new();
                }
                timer.is_some()
            })
            // The thread is about to end.
            .unwrap_or(false)
            && STATE.with(|state| set(state.timer.load(ORDER), PERIOD.get()))
    }

    /// A timer that signals the thread that made it.
    struct Timer(libc::timer_t);

    impl Timer {
        fn new() -> Option<Self> {
            let signal = signal()?;
            // SAFETY: all zeros are an event; what matters is set.
            let mut event: libc::sigevent = unsafe { zeroed() };
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            // SAFETY: it takes nothing and returns this thread's number.
            event.sigev_notify_thread_id = unsafe { libc::gettid() };
            let mut timer: libc::timer_t = null_mut();
            // SAFETY: both pointers are to locals that live through the calls; the set is
            // initialized by `sigemptyset`.
            unsafe {
                let mut set: libc::sigset_t = zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, signal);
                if libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, null_mut()) != 0
                    || libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)
                        != 0
                {
                    return None;
                }
            }
            STATE.with(|state| state.timer.store(timer, ORDER));
            Some(Self(timer))
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            STATE.with(|state| state.timer.store(null_mut(), ORDER));
            // SAFETY: it was made by `timer_create`, and is deleted once.
            unsafe { libc::timer_delete(self.0) };
        }
    }

    /// Sets a timer to that period; zero stops it.
    fn set(timer: libc::timer_t, period: Duration) -> bool {
        let period = libc::timespec {
            tv_sec: period.as_secs() as libc::time_t,
            tv_nsec: period.subsec_nanos() as _,
        };
        let times = libc::itimerspec { it_interval: period, it_value: period };
        // SAFETY: the timer is this thread's, which deletes it only when it ends; the times are a
        // local.
        unsafe { libc::timer_settime(timer, 0, &raw const times, null_mut()) == 0 }
    }

    /// The timer's signal. That it arrives is all that is wanted of it; a timer that is not needed any
    /// more is stopped.
    extern "C" fn on_signal(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel passes a valid pointer, as the handler was installed with SA_SIGINFO.
        if unsafe { (*info).si_code } != libc::SI_TIMER {
            return;
        }
        STATE.with(|state| {
            state.ticks.fetch_add(1, ORDER);
            let timer = state.timer.load(ORDER);
            if !state.bounded.load(ORDER) && !timer.is_null() {
                state.running.store(false, ORDER);
                // SAFETY: the pointer is to this thread's own.
                let errno = unsafe { *libc::__errno_location() };
                set(timer, Duration::ZERO);
                // SAFETY: as above. What was interrupted may be about to read it.
                unsafe { *libc::__errno_location() = errno };
            }
        });
    }

    /// The signal of this process, its handler installed; `None` if none is free.
    fn signal() -> Option<c_int> {
        static SIGNAL: OnceLock<Option<c_int>> = OnceLock::new();
        *SIGNAL.get_or_init(|| {
            let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
            std::iter::once(libc::SIGURG).chain(real_time).find(|signal| install(*signal))
        })
    }

    /// Installs the handler, unless the program has one for that signal.
    fn install(signal: c_int) -> bool {
        // SAFETY: all zeros are an action; it is written or set before it is used. The handler is a
        // function of this signature, and does nothing that a handler may not do.
        unsafe {
            let mut before: libc::sigaction = zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut before) != 0 {
                return false;
            }
            // To ignore SIGURG is to do nothing, which it does by default.
            let is_free = before.sa_sigaction == libc::SIG_DFL
                || (signal == libc::SIGURG && before.sa_sigaction == libc::SIG_IGN);
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
            // Calls are not to be restarted.
            // Not on the alternate stack, and with all other signals held back: that stack is small, and
            // the frames of two handlers, one above the other, do not always fit.
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigfillset(&raw mut action.sa_mask);
            is_free && libc::sigaction(signal, &raw const action, null_mut()) == 0
        }
    }
}

/// Elsewhere nothing ends a call.
#[cfg(not(target_os = "linux"))]
mod timer {
    use std::time::Duration;

    pub(super) fn begin(_period: Duration) -> bool {
        false
    }

    pub(super) fn end(_before: bool) {}

    pub(super) fn ticks() -> u64 {
        0
    }

    pub(super) fn sleeps() -> Option<u64> {
        None
    }
}

/// The connected end of a TCP connection with more unsent data than its peer has room for, which
/// lingers for minutes when it is closed; and that peer.
#[cfg(all(test, target_os = "linux"))]
pub(super) fn lingering() -> (std::os::fd::OwnedFd, std::net::TcpStream) {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let mut ours = std::net::TcpStream::connect(address).expect("it listens");
    let (peer, _) = listener.accept().expect("one waits");
    ours.set_nonblocking(true).expect("a socket");
    while ours.write(&[0; 64 << 10]).is_ok() {}
    let linger = Some(Duration::from_secs(120));
    rustix::net::sockopt::set_socket_linger(&ours, linger).expect("a socket");
    (ours.into(), peer)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use rustix::io::Errno;
    use rustix::net::{SocketFlags, acceptfrom_with};

    use super::*;

    #[test]
    fn a_close_that_lingers_is_interrupted() {
        let (first, _first_peer) = lingering();
        let mut log = CallLog::default();
        let _bounded = bounded();
        // From the first on it is determined why a call is slow.
        log.time(|| drop(first));
        assert!(!log.longest.is_zero(), "{log:?}");
        // On a machine with other work a call may be slow because it waits for a CPU, too.
        let noticed = (0..20).find_map(|_| {
            let (second, peer) = lingering();
            let ((), interrupted) = log.time(|| drop(second));
            interrupted.then_some(peer)
        });
        let mut peer = noticed.expect("one of them is found to have blocked");
        assert_eq!(log.interrupted, 1, "{log:?}");
        // Nothing is lost by that: the system goes on sending.
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("all of it, and the end");
        assert!(!received.is_empty());
    }

    #[test]
    fn an_accept_on_a_blocking_listener_is_interrupted() {
        let path = std::env::temp_dir().join(format!("cluster-accept-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket");
        std::fs::remove_file(&path).expect("it is ours");
        let mut log = CallLog::default();
        let _bounded = bounded();
        let accept = || acceptfrom_with(&listener, SocketFlags::CLOEXEC);
        let (_, interrupted) = log.time_if(accept, |result| matches!(result, Err(Errno::INTR)));
        assert!(interrupted && log.interrupted == 1, "{log:?}");
    }

    #[test]
    fn a_call_that_is_busy_is_not_interrupted() {
        let mut log = CallLog::default();
        let _bounded = bounded();
        for _ in 0..3 {
            let busy = || {
                let (ticks, mut spins) = (timer::ticks(), 0_u64);
                while timer::ticks() < ticks + 3 {
                    spins += 1;
                }
                spins
            };
            let (_, interrupted) = log.time(busy);
            assert!(!interrupted, "{log:?}");
        }
        assert_eq!(log.interrupted, 0);
    }

    #[test]
    fn a_thread_that_is_not_bounded_is_left_alone() {
        let calls = std::thread::spawn(|| {
            for _ in 0..3 {
                // Each call of a bounded thread ends soon, and of those after the bound one at most.
                {
                    let _outer = bounded();
                    drop(bounded());
                    rustix::event::pause();
                }
                let late = std::iter::repeat_with(|| {
                    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 60_000_000 };
                    rustix::event::poll(&mut [], Some(&timeout)).is_err()
                });
                assert!(late.take(4).filter(|interrupted| *interrupted).count() <= 1);
            }
        });
        calls.join().expect("no panic");
    }
}
