//! Causal convolutions of a batch of 16, with a filter for each channel.

use wavecube::{Device, Dtype};
use wavecube_core::fft::padded_len;

use super::{Case, POINTS, Peer, Prepared, dense_lines, sample};
use crate::{Rng, reference, tensor};

const BATCH: usize = 16;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [256, 1024] {
        cases.push(causal("convolution/causal", false, n));
        cases.push(causal("convolution/causal_complex", true, n));
    }
    cases
}

fn causal(op: &'static str, complex: bool, n: usize) -> Case {
    let dtype = Dtype::F32;
    let channels = POINTS / n / BATCH;
    let rows = BATCH * channels;
    let prepare = move |device: &Device, rng: &mut Rng| {
        let mut operand = |batch: usize| {
            let len = batch * channels * n;
            let values = if complex { rng.complex(len) } else { rng.real(len) };
            tensor(device, &values, dtype, complex, &[batch, channels, n])
        };
        let ((x, signals), (h, filters)) = (operand(BATCH)?, operand(1)?);
        let covered = sample(rng, rows, dense_lines(n));
        Ok(Prepared {
            rows: covered.clone(),
            call: Box::new(move || wavecube::causal_convolution(&x, &h, -1)),
            expected: Box::new(move || {
                let line = |values: &[_], row: usize| values[row * n..][..n].to_vec();
                covered
                    .iter()
                    .flat_map(|&row| {
                        let filter = line(&filters, row % channels);
                        reference::convolution::causal(&line(&signals, row), &filter)
                    })
                    .collect()
            }),
        })
    };
    let parts = if complex { 2 } else { 1 };
    Case {
        op,
        dtype,
        rows,
        n,
        bytes: (2 * rows + channels) * n * parts * dtype.size(),
        // Three transforms of up to 4n points, and one rounding to the storage type.
        gate: 16.0 * dtype.epsilon() * (4.0 * n as f64).log2() + dtype.epsilon(),
        peer: Peer::RoundTrip { n: padded_len(2 * n - 1), real: !complex },
        prepare: Box::new(prepare),
    }
}
