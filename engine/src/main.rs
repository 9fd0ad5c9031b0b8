//! The `pointsman` binary.

/// Level with the system allocator on a path that does not allocate, and better than it where the
/// control thread and large bodies do; see `ARCHITECTURE.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let begun = std::time::Instant::now();
    std::process::exit(engine::cli::run(begun));
}
