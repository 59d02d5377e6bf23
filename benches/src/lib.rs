//! Timing beside peers: check, warm up, time, then report the fraction of the copy bandwidth and the
//! ratio to the peer, both measured in the same run.

mod copy;
mod peer;
mod record;

use std::time::{Duration, Instant};

use criterion::Criterion;
use cubecl::future::block_on;
use wavecube::{Device, Tensor};
use wavecube_testing::{catalogue::Case, devices, has};

pub use record::Record;

/// Runs of which the median counts.
const RUNS: usize = 15;

/// Seconds of one run: the median of several after two to warm up. `run` returns what was written
/// last; waiting for that buffer also reports a kernel that failed.
///
/// # Panics
/// If the device reports a fault: a time of nothing is no time.
pub fn median_seconds(mut run: impl FnMut() -> Tensor) -> f64 {
    let mut once = || {
        let start = Instant::now();
        let last = run();
        block_on(last.device().client().sync_buffers([last.handle()])).expect("the kernel ran");
        start.elapsed().as_secs_f64()
    };
    once();
    once();
    let mut times: Vec<f64> = (0..RUNS).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Benches the cases whose id begins with `prefix` on every device: each is checked against its
/// reference, timed by criterion, and recorded beside the copy and its peer.
///
/// # Panics
/// If a case is wrong, or the records cannot be written.
pub fn run(criterion: &mut Criterion, prefix: &str, cases: &[Case]) {
    let mut records = Vec::new();
    for device in devices() {
        let copy = copy::bytes_per_second(device);
        println!("{device}: a copy moves {:.2} GB/s", copy / 1e9);
        for case in cases.iter().filter(|case| case.id().starts_with(prefix)) {
            if has(device, case.dtype) {
                records.extend(bench_case(criterion, device, case, copy));
            }
        }
    }
    record::print(&records);
    record::write(&records).expect("the records can be written");
}

fn bench_case(
    criterion: &mut Criterion,
    device: &Device,
    case: &Case,
    copy: f64,
) -> Option<Record> {
    let id = format!("{}/{}", case.id(), record::runtime(device));
    let prepared = case.prepare(device).expect("the case fits the device");
    let call = || prepared.call().expect("the case fits the device");
    let mut ran = false;
    criterion.bench_function(&id, |bencher| {
        if !ran {
            let error = prepared.error().expect("the case fits the device");
            assert!(error <= case.gate, "{id}: error {error:e} exceeds {:e}", case.gate);
            ran = true;
        }
        bencher.iter_custom(|runs| {
            let start = Instant::now();
            for _ in 0..runs {
                let last = call();
                block_on(device.client().sync_buffers([last.handle()])).expect("the kernel ran");
            }
            start.elapsed()
        });
    });
    // Criterion leaves out what its filter does not name.
    if !ran {
        return None;
    }
    let seconds = median_seconds(call);
    let peer = peer::of(device, case);
    Some(Record {
        id,
        device: device.to_string(),
        ms: seconds * 1e3,
        bytes: case.bytes,
        copy_fraction: case.bytes as f64 / seconds / copy,
        peer: peer.as_ref().map(|(name, _)| (*name).to_owned()),
        peer_ms: peer.as_ref().map(|(_, seconds)| seconds * 1e3),
        ratio: peer.as_ref().map(|(_, peer)| peer / seconds),
    })
}

/// Criterion with little to wait for: the cases are long and many.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots()
        .configure_from_args()
}
