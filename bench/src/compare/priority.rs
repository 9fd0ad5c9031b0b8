//! Precedence over whatever else runs on this machine, for as long as a comparison takes.
//!
//! On a machine with other work a program waits for its core, events pile up meanwhile, and it
//! handles many at once: who waits longest looks cheapest. So the scheduler is asked to prefer this
//! session (its "autogroup", of which everything that we start is a part) over others.

use std::fs;
use std::io;

const AUTOGROUP: &str = "/proc/self/autogroup";
/// As `nice` counts: about thirty times the share of a program at 0.
const NICE: &str = "-15";

/// Precedence, given back when it is dropped.
#[derive(Debug)]
pub struct Precedence {
    nice_before: String,
}

impl Precedence {
    /// Asks for it. Only root is given it, and only where sessions are scheduled as groups.
    pub fn take() -> io::Result<Precedence> {
        let nice_before = nice_of(&fs::read_to_string(AUTOGROUP)?).unwrap_or("0").to_owned();
        fs::write(AUTOGROUP, NICE)?;
        Ok(Precedence { nice_before })
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        // Who may take may give back.
        let _ = fs::write(AUTOGROUP, &self.nice_before);
    }
}

/// The number in `/autogroup-81 nice 0`.
fn nice_of(text: &str) -> Option<&str> {
    text.trim().rsplit_once(" nice ").map(|(_, nice)| nice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_before_is_read() {
        assert_eq!(nice_of("/autogroup-81 nice -3\n"), Some("-3"));
        assert_eq!(nice_of(""), None);
    }
}
