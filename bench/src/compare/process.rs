//! A program under measurement: started on a core of its own, its CPU time and memory read from
//! `/proc`, all of its descendants included, ended with them.
//!
//! Linux only, as the product is. Never signals a process that it did not start.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take to end by itself when it is told to.
const END_WAIT: Duration = Duration::from_secs(3);

/// A running program with its descendants.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// Memory of a process tree, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Resident, pages shared between two of the processes counted for each.
    pub resident: u64,
    /// Resident, shared pages divided among those that share them.
    pub proportional: u64,
}

impl Process {
    /// Starts `command` with `core` as the only core that it may use, or with all of ours.
    pub fn start(mut command: Command, core: Option<usize>) -> io::Result<Process> {
        // A child inherits the cores of the thread that starts it: so one is made for that and ends.
        let started = thread::scope(|scope| {
            scope
                .spawn(move || {
                    core.map_or(Ok(()), loadtest::pin_to_core)?;
                    command.spawn()
                })
                .join()
        });
        let child =
            started.map_err(|_| io::Error::other("the thread that starts it panicked"))??;
        Ok(Process { child })
    }

    /// Access to its pipes, and to whether it has ended.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// CPU time of all its threads and descendants so far, in nanoseconds.
    ///
    /// From the scheduler's own count, which is exact where the clock ticks of `/proc/PID/stat` are
    /// not. Threads that have ended are not in it, so measure between two points of a steady state.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum = 0;
        for pid in self.tree()? {
            // A process may end while we look; then it has no more to add.
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
                    continue;
                };
                sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        if sum == 0 {
            return Err(io::Error::other("no CPU time is told: it ended, or schedstat is missing"));
        }
        Ok(sum)
    }

    /// Memory of the tree.
    pub fn memory(&self) -> io::Result<Memory> {
        let mut memory = Memory::default();
        for pid in self.tree()? {
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                continue;
            };
            memory.resident += kilobytes(&text, "Rss:") * 1024;
            memory.proportional += kilobytes(&text, "Pss:") * 1024;
        }
        Ok(memory)
    }

    /// The process and its descendants.
    fn tree(&self) -> io::Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            if let Some(parent) = parent_of(&stat) {
                parents.push((pid, parent));
            }
        }
        Ok(descendants(self.child.id(), &parents))
    }

    fn end(&mut self) {
        let tree = self.tree().unwrap_or_default();
        signal(self.child.id(), libc::SIGTERM);
        let until = Instant::now() + END_WAIT;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        for pid in tree {
            signal(pid, libc::SIGKILL);
        }
        // It was killed: it ends now, and how it did says nothing.
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: a plain system call on two numbers. The process is our own child, not waited for yet,
    // or was seen as its descendant a moment ago.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// The parent in the text of `/proc/PID/stat`: the second field after the name, which stands in
/// brackets and may hold anything, brackets and spaces included.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn descendants(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(&parent) = tree.get(at) {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        at += 1;
    }
    tree
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_found_whatever_the_order_and_the_names() {
        assert_eq!(parent_of("12 (a) b) (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_of("12 (half"), None);
        let parents = [(9, 8), (8, 1), (3, 9), (4, 2), (2, 0)];
        assert_eq!(descendants(8, &parents), [8, 9, 3]);
    }

    #[test]
    fn a_child_is_measured_with_its_children_and_ends_with_us() {
        let mut command = Command::new("sh");
        command.args(["-c", "sh -c 'while :; do :; done' & while :; do :; done"]);
        let process = Process::start(command, None).expect("a shell");
        let until = Instant::now() + Duration::from_secs(10);
        while process.tree().expect("/proc").len() < 2 && Instant::now() < until {
            thread::yield_now();
        }
        let tree = process.tree().expect("/proc");
        assert_eq!(tree.len(), 2);
        while process.cpu_ns().is_err() && Instant::now() < until {
            thread::yield_now();
        }
        assert!(process.cpu_ns().expect("CPU time") > 0);
        assert!(process.memory().expect("memory").proportional > 0);
        signal(tree[1], libc::SIGKILL);
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{}", tree[0])).exists());
    }
}
