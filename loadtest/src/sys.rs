//! Time and cores: a monotonic microsecond clock, an alarm finer than epoll's milliseconds, the CPU
//! time of this thread, pinning, and closing with a reset. The only place in this crate that calls the system by hand.
//! Linux only, as the product is.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// Microseconds since this clock was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// A timerfd in the poll: epoll's own time-out counts in whole milliseconds, which would turn an
/// arrival every 100 µs into bursts of ten. It is never read: registered edge-triggered, each
/// expiry is an edge of its own.
#[derive(Debug)]
pub(crate) struct Alarm {
    fd: OwnedFd,
    armed_for_us: Option<u64>,
}

impl Alarm {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        // SAFETY: no pointers are passed; the result is checked before it is owned.
        let raw = unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
        };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` was just opened and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { fd, armed_for_us: None })
    }

    /// Rings at `due_us` of the clock that says `now_us`; does nothing if it is set so already.
    pub(crate) fn set(&mut self, due_us: u64, now_us: u64) -> io::Result<()> {
        let armed = self.armed_for_us.is_some_and(|at| at > now_us);
        if armed && self.armed_for_us == Some(due_us) {
            return Ok(());
        }
        // Zero would disarm it, so what is due already rings in a microsecond.
        let wait_us = due_us.saturating_sub(now_us).max(1);
        let spec = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: (wait_us / 1_000_000) as libc::time_t,
                tv_nsec: (wait_us % 1_000_000 * 1_000) as libc::c_long,
            },
        };
        // SAFETY: the descriptor is open, `spec` outlives the call, no old value is asked for.
        let done =
            unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        self.armed_for_us = Some(due_us);
        Ok(())
    }
}

/// Pins the calling thread to one core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        let text = format!("core {core}: this system counts to {}", libc::CPU_SETSIZE);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: an all-zero `cpu_set_t` is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE, checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set outlives the call and its size is the one passed; 0 is this thread.
    let done = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// CPU time in microseconds.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct CpuTime {
    /// In the program itself.
    pub user_us: u64,
    /// In the kernel on its behalf.
    pub system_us: u64,
}

impl CpuTime {
    /// What the calling thread has used.
    pub fn of_thread() -> CpuTime {
        CpuTime::read(libc::RUSAGE_THREAD)
    }

    /// What all threads of this process have used.
    pub fn of_process() -> CpuTime {
        CpuTime::read(libc::RUSAGE_SELF)
    }

    /// Both together.
    pub fn total_us(self) -> u64 {
        self.user_us + self.system_us
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: CpuTime) -> CpuTime {
        CpuTime {
            user_us: self.user_us.saturating_sub(earlier.user_us),
            system_us: self.system_us.saturating_sub(earlier.system_us),
        }
    }

    fn read(who: libc::c_int) -> CpuTime {
        // SAFETY: an all-zero `rusage` is a valid value of this plain struct.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live `rusage`.
        let done = unsafe { libc::getrusage(who, &mut usage) };
        assert!(done == 0, "getrusage only fails for a `who` that does not exist");
        let micros = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
        CpuTime { user_us: micros(usage.ru_utime), system_us: micros(usage.ru_stime) }
    }
}

/// Makes the close of this socket a TCP reset in place of an orderly end.
pub(crate) fn reset_on_close(socket: &impl AsRawFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open while `socket` is borrowed; the pointer and the size are those
    // of a live `linger`.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
