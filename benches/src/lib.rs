//! Timing beside peers: check, warm up, time, then report the fraction of the copy bandwidth and the
//! ratio to the peer, both measured in the same run. The program `wavecube-check` does the first half
//! for one case an operation, in a minute or two.

mod copy;
mod matmul;
mod peer;
mod record;
mod turns;

use std::{
    iter,
    time::{Duration, Instant},
};

use criterion::Criterion;
use cubecl::future::block_on;
use wavecube::{Device, Result};
use wavecube_testing::{
    catalogue::{Case, Prepared, cases},
    devices,
};

pub use record::{Other, Record, header, write};
use turns::{Contestant, by_turns};

/// A device, and what a copy reaches on it.
pub struct Bench<'a> {
    device: &'a Device,
    copy: f64,
}

impl<'a> Bench<'a> {
    /// Measures the copy, and says so.
    pub fn on(device: &'a Device) -> Self {
        let copy = copy::bytes_per_second(device);
        println!("{device}: a copy moves {:.2} GB/s", copy / 1e9);
        Self { device, copy }
    }

    /// Checks a case against its reference and times it alone; `None` if the device lacks its types.
    ///
    /// # Errors
    /// Whatever the operation rejects.
    pub fn check(&self, case: &Case) -> Result<Option<Record>> {
        if !case.runs_on(self.device) {
            return Ok(None);
        }
        let prepared = case.prepare(self.device)?;
        let error = prepared.error()?;
        Ok(Some(self.time(case, prepared, error, Vec::new())))
    }

    /// The record of a case that has been checked, beside its peers, the first of which counts.
    fn time(&self, case: &Case, prepared: Prepared, error: f64, peers: Vec<Contestant>) -> Record {
        let ours = Contestant::new("ours", move || prepared.call().expect("it ran before"));
        let mut contestants: Vec<_> = iter::once(ours).chain(peers).collect();
        let seconds = by_turns(&mut contestants);
        let ours = seconds[0];
        let timed = contestants.into_iter().zip(seconds).skip(1);
        let mut peers = timed.map(|(peer, seconds)| Other {
            peer: peer.name,
            peer_ms: seconds * 1e3,
            ratio: seconds / ours,
        });
        let first = peers.next();
        Record {
            id: self.id(case),
            device: self.device.to_string(),
            error,
            gate: case.gate,
            ms: ours * 1e3,
            bytes: case.bytes,
            copy_fraction: case.bytes as f64 / ours / self.copy,
            peer_ms: first.as_ref().map(|first| first.peer_ms),
            ratio: first.as_ref().map(|first| first.ratio),
            peer: first.map(|first| first.peer),
            others: peers.collect(),
        }
    }

    fn id(&self, case: &Case) -> String {
        format!("{}/{}", case.id(), record::runtime(self.device))
    }

    /// Checks a case, hands it to criterion, and records it beside its peer; `None` if criterion's
    /// filter leaves it out.
    fn bench(&self, criterion: &mut Criterion, case: &Case) -> Option<Record> {
        let id = self.id(case);
        let mut checked = None;
        criterion.bench_function(&id, |bencher| {
            let (prepared, _) = checked.get_or_insert_with(|| {
                let prepared = case.prepare(self.device).expect("the case fits the device");
                let error = prepared.error().expect("the case fits the device");
                assert!(error <= case.gate, "{id}: error {error:e} exceeds {:e}", case.gate);
                (prepared, error)
            });
            bencher.iter_custom(|runs| {
                let start = Instant::now();
                for _ in 0..runs {
                    let last = prepared.call().expect("it ran before");
                    let synced = block_on(self.device.client().sync_buffers([last.handle()]));
                    synced.expect("the kernel ran");
                }
                start.elapsed()
            });
        });
        let (prepared, error) = checked?;
        let peers = peer::of(self.device, case);
        Some(self.time(case, prepared, error, peers))
    }
}

/// Benches the cases of a family on every device: each is checked against its reference, timed by
/// criterion, and recorded beside the copy and its peer.
///
/// # Panics
/// If a case is wrong, or the records cannot be written.
pub fn run(family: &str) {
    let mut criterion = criterion();
    for device in devices() {
        let bench = Bench::on(device);
        let mut records = Vec::new();
        for case in cases().iter().filter(|case| case.op.starts_with(family)) {
            if case.runs_on(device) {
                records.extend(bench.bench(&mut criterion, case));
            }
        }
        println!("{}", header());
        for record in &records {
            println!("{record}");
        }
        // Device by device: a run that is cut short keeps what it has.
        record::merge(&records).expect("the records can be written");
    }
    criterion.final_summary();
}

/// Criterion with little to wait for: the cases are long and many.
fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots()
        .configure_from_args()
}
