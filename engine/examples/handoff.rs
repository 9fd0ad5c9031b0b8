//! Measures how long a core waits for an answer of another thread: `cargo run --release -p pointsman
//! --example handoff`. Prints microseconds per driver: through a queue and back, with the other thread
//! asleep before each question; and how late a deadline of one millisecond is.
#![allow(clippy::print_stdout, reason = "printing figures is what it is for")]

use engine::rt::{self, Driver, DriverChoice};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const ROUNDS: usize = 5_000;

fn main() -> std::io::Result<()> {
    for choice in [DriverChoice::Auto, DriverChoice::Epoll] {
        rt::run(choice, measure)?;
    }
    Ok(())
}

async fn measure(driver: Driver) {
    let (ask, asked) = crossbeam::channel::bounded::<oneshot::Sender<Instant>>(16);
    let thread = std::thread::spawn(move || {
        for answer in asked {
            // Who asks waits for it.
            let _ = answer.send(Instant::now());
        }
    });
    let (mut there, mut both) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rt::sleep(Duration::from_millis(1)).await;
        let (sender, receiver) = oneshot::channel();
        let begun = Instant::now();
        ask.send(sender).expect("the thread listens");
        let Some(Ok(at)) = rt::within(Duration::from_millis(100), receiver).await else {
            println!("lost");
            continue;
        };
        there.push(at.duration_since(begun).as_micros());
        both.push(begun.elapsed().as_micros());
    }
    drop(ask);
    thread.join().expect("it does not panic");
    let mut late = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        let (sender, receiver) = oneshot::channel::<()>();
        let given_up = rt::within(Duration::from_millis(1), receiver).await;
        assert!(given_up.is_none());
        drop(sender);
        late.push(begun.elapsed().as_micros());
    }
    for (name, times) in [("there", there), ("there and back", both), ("1 ms deadline", late)] {
        let mut times = times;
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("{}: {name}: p50 {} µs, p99 {} µs", driver.name(), at(0.5), at(0.99));
    }
}
