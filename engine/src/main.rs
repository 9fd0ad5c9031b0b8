//! The `pointsman` binary.

/// Level with the system allocator on a path that does not allocate, and better than it where the
/// control thread and large bodies do; see `ARCHITECTURE.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let begun = std::time::Instant::now();
    let host = engine::cli::Host { give_back_memory, end_on_broken_pipe };
    std::process::exit(engine::cli::run(begun, &host));
}

/// `pointsman usage | head` ends in silence, like every other tool. Not for the server, which must
/// outlive whoever reads its output.
fn end_on_broken_pipe() {
    // SAFETY: it sets a signal's action to the default one; no handler of ours is involved, and no
    // other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Building the catalogue takes ten times the memory that it keeps, and loading a model several times
/// what a session keeps. The allocators, ours and the C library's that ONNX Runtime uses, would give
/// that back only as it is used again, and an idle gateway does not use it.
fn give_back_memory() {
    // SAFETY: neither call takes memory of ours; both may be made at any time from any thread.
    unsafe {
        libmimalloc_sys::mi_collect(true);
        libc::malloc_trim(0);
    }
}
