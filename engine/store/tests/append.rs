//! What an append must not do on a data-plane core: allocate, or ask the kernel for anything.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::{SMALL, open, record};
use store::{Journal, JournalLimits};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator as it came; the counter is a constant
// thread-local without a destructor, so that reading it never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, and it is the same for `System`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn an_append_does_not_allocate_not_even_when_it_changes_segments() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Journal::open(folder.path(), SMALL).expect("opens");
    let mut writer = journal.writer(0).expect("a writer");
    journal.tend().expect("lays out the next segment");
    let before = ALLOCATIONS.get();
    // A segment of 64 KiB holds fewer than 150 of these, and two hold more than 200.
    for n in 0..200 {
        writer.append(&record(n)).expect("takes it");
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

#[test]
fn an_append_makes_no_system_call_not_even_when_it_changes_segments() {
    let output = Command::new(std::env::current_exe().expect("has a path"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::null())
        .output()
        .expect("starts");
    assert_eq!(
        output.status.signal(),
        None,
        "the kernel killed it for a system call; `strace` on `child --ignored` tells which"
    );
    assert_eq!(output.status.code(), Some(DONE), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the child exits with when all went well.
const DONE: i32 = 42;

/// Not a test: forbids itself all system calls but the last, and appends.
#[test]
#[ignore = "started by the test above"]
fn child() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, store) = open(folder.path(), JournalLimits { ..SMALL });
    drop(store);
    let mut writer = journal.writer(0).expect("a writer");
    journal.tend().expect("lays out the next segment");
    // Nobody is left to remove it once system calls are forbidden; the mapping does not mind.
    folder.close().expect("removes");
    forbid_system_calls();
    let mut taken = 0;
    for n in 0..200 {
        taken += i32::from(writer.append(&record(n)).is_ok());
    }
    // SAFETY: ends the process at once, as it should; nothing is unwound.
    unsafe { libc::_exit(if taken == 200 { DONE } else { 1 }) }
}

/// From here on the kernel kills the process for every system call but `exit_group`.
fn forbid_system_calls() {
    // Instructions of classic BPF: load the call's number, compare, allow or kill.
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_exit_group as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: both calls get the arguments that their manual pages ask for; `filter` and `program`
    // outlive them, and the kernel copies both.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter),
        ]
    };
    assert_eq!(results, [0, 0], "this kernel forbids to forbid");
}
