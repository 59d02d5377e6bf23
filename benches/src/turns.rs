//! Times, taken by turns.

use std::time::Instant;

use cubecl::future::block_on;
use wavecube::Tensor;

/// Rounds of which the median counts, and those before them that warm up. Short ones get more, until they have taken
/// `SHORT` seconds, slow ones fewer: both kinds end early when they have taken `LONG`, a contestant.
const ROUNDS: usize = 15;
const MOST_ROUNDS: usize = 200;
const WARM_UP: usize = 2;
const SHORT: f64 = 0.3;
const LONG: f64 = 1.0;

/// What is timed: its name, and the seconds of one run.
pub(crate) struct Contestant {
    pub(crate) name: String,
    run: Box<dyn FnMut() -> f64>,
}

impl Contestant {
    /// `run` returns what was written last; waiting for that buffer also reports a kernel that failed.
    ///
    /// # Panics
    /// When it runs, if the device reports a fault: a time of nothing is no time.
    pub(crate) fn new(name: impl Into<String>, mut run: impl FnMut() -> Tensor + 'static) -> Self {
        let timed = move || {
            let start = Instant::now();
            let last = run();
            block_on(last.device().client().sync_buffers([last.handle()])).expect("the kernel ran");
            start.elapsed().as_secs_f64()
        };
        Self::timed(name, timed)
    }

    /// `run` returns the seconds that it took.
    pub(crate) fn timed(name: impl Into<String>, run: impl FnMut() -> f64 + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// The median seconds of each, run by turns: what else the machine does falls on all of them.
pub(crate) fn by_turns(contestants: &mut [Contestant]) -> Vec<f64> {
    let mut times = vec![Vec::new(); contestants.len()];
    let long = LONG * contestants.len() as f64;
    for (least, most, short) in [(WARM_UP, WARM_UP, 0.0), (ROUNDS, MOST_ROUNDS, SHORT)] {
        times.iter_mut().for_each(Vec::clear);
        let mut taken = 0.0;
        for round in 0..most {
            if taken > long || round >= least && taken > short {
                break;
            }
            for (contestant, times) in contestants.iter_mut().zip(&mut times) {
                let seconds = (contestant.run)();
                times.push(seconds);
                taken += seconds;
            }
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(median).collect()
}
