//! Causal convolutions of a batch of 16, with a filter for each channel, and their gradients.

use wavecube::{Complex64, Device, Dtype, Result, Tensor};
use wavecube_core::fft::padded_len;

use super::{
    Case, POINTS, Peer, Prepared,
    lines::{dense_lines, sample},
};
use crate::{Rng, reference::convolution as reference, tensor};

const BATCH: usize = 16;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [256, 1024] {
        for (op, complex) in [("convolution/causal", false), ("convolution/causal_complex", true)] {
            cases.push(by_signal(
                Convolution { op, complex, n, points: POINTS },
                |x, h| wavecube::causal_convolution(x, h, -1),
                reference::causal,
            ));
        }
    }
    let small = |op, complex| Convolution { op, complex, n: 256, points: POINTS / 16 };
    for (op, complex) in [("convolution/vjp", false), ("convolution/vjp_complex", true)] {
        let back = |g: &Tensor, h: &Tensor| wavecube::causal_convolution_vjp(g, h, -1);
        cases.push(by_signal(small(op, complex), back, reference::ahead));
    }
    for n in [256, 1024] {
        cases.push(spectral("convolution/spectral", Spectral { n, gradient: None }));
    }
    for (op, gradient) in [("convolution/spectral_vjp", 0), ("convolution/spectral_table_vjp", 1)] {
        cases.push(spectral(op, Spectral { n: 256, gradient: Some(gradient) }));
    }
    cases.push(by_filter(small("convolution/filter_vjp", false)));
    cases.push(by_filter(small("convolution/filter_vjp_complex", true)));
    cases
}

#[derive(Clone, Copy)]
struct Convolution {
    op: &'static str,
    complex: bool,
    n: usize,
    /// Of all signals.
    points: usize,
}

impl Convolution {
    fn channels(self) -> usize {
        self.points / self.n / BATCH
    }

    /// Random lines for every channel of `batch`.
    fn operand(
        self,
        device: &Device,
        rng: &mut Rng,
        batch: usize,
    ) -> Result<(Tensor, Vec<Complex64>)> {
        let Self { complex, n, .. } = self;
        let len = batch * self.channels() * n;
        let values = if complex { rng.complex(len) } else { rng.real(len) };
        tensor(device, &values, Dtype::F32, complex, &[batch, self.channels(), n])
    }

    /// The case that reads or writes `lines` lines.
    fn case(
        self,
        lines: usize,
        prepare: impl Fn(&Device, &mut Rng) -> Result<Prepared> + Send + Sync + 'static,
    ) -> Case {
        let Self { op, complex, n, .. } = self;
        let dtype = Dtype::F32;
        let parts = if complex { 2 } else { 1 };
        Case {
            op,
            dtype,
            rows: BATCH * self.channels(),
            n,
            bytes: lines * n * parts * dtype.size(),
            // Three transforms of up to 4n points, and one rounding to the storage type.
            gate: 16.0 * dtype.epsilon() * (4.0 * n as f64).log2() + dtype.epsilon(),
            peer: Peer::RoundTrip { n: padded_len(2 * n - 1), real: !complex },
            prepare: Box::new(prepare),
        }
    }
}

/// Line `row` of several.
fn line(values: &[Complex64], row: usize, n: usize) -> &[Complex64] {
    &values[row * n..][..n]
}

/// From signals and filters to as many signals.
fn by_signal(
    convolution: Convolution,
    call: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Clone + Send + Sync + 'static,
    reference: fn(&[Complex64], &[Complex64]) -> Vec<Complex64>,
) -> Case {
    let (n, channels) = (convolution.n, convolution.channels());
    let rows = BATCH * channels;
    convolution.case(2 * rows + channels, move |device, rng| {
        let (x, signals) = convolution.operand(device, rng, BATCH)?;
        let (h, filters) = convolution.operand(device, rng, 1)?;
        let covered = sample(rng, rows, dense_lines(n));
        let (call, lines) = (call.clone(), covered.clone());
        Ok(Prepared::lines(
            move || call(&x, &h),
            n,
            covered,
            move || {
                let each = lines.iter().map(|&row| (row, row % channels));
                each.flat_map(|(row, channel)| {
                    reference(line(&signals, row, n), line(&filters, channel, n))
                })
                .collect()
            },
        ))
    })
}

/// From signals and gradients to filters: the sum over the batch of the correlations.
fn by_filter(convolution: Convolution) -> Case {
    let (n, channels) = (convolution.n, convolution.channels());
    convolution.case(2 * BATCH * channels + channels, move |device, rng| {
        let (x, signals) = convolution.operand(device, rng, BATCH)?;
        let (g, gradients) = convolution.operand(device, rng, BATCH)?;
        let covered = sample(rng, channels, dense_lines(n) / BATCH);
        let lines = covered.clone();
        let call = move || wavecube::causal_convolution_filter_vjp(&x, &g, &[1, channels, n], -1);
        Ok(Prepared::lines(call, n, covered, move || {
            let correlation =
                |row: usize| reference::ahead(line(&gradients, row, n), line(&signals, row, n));
            let sum = |channel: usize| {
                let each = (0..BATCH).map(|batch| correlation(batch * channels + channel));
                each.reduce(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect())
            };
            lines.iter().filter_map(|&channel| sum(channel)).flatten().collect()
        }))
    })
}

/// Two filters of the spectrum, one for every channel and one for all.
#[derive(Clone, Copy)]
struct Spectral {
    n: usize,
    /// By the signal, or by the filter of every channel.
    gradient: Option<usize>,
}

fn spectral(op: &'static str, Spectral { n, gradient }: Spectral) -> Case {
    let points = if gradient == Some(1) { POINTS / 16 } else { POINTS };
    let convolution = Convolution { op, complex: true, n, points };
    let channels = convolution.channels();
    let rows = BATCH * channels;
    let case = convolution.case(2 * rows + channels, move |device, rng| {
        let (x, signals) = convolution.operand(device, rng, BATCH)?;
        let (g, gradients) = convolution.operand(device, rng, BATCH)?;
        let (h, filters) = convolution.operand(device, rng, 1)?;
        let (all, shared) = tensor(device, &rng.complex(n), Dtype::F32, true, &[1, 1, n])?;
        let lines = if gradient == Some(1) { channels } else { rows };
        let covered = sample(rng, lines, dense_lines(n) / BATCH);
        let lines = covered.clone();
        let call = move || match gradient {
            None => wavecube::spectral_filter(&x, &[&h, &all], -1),
            Some(0) => wavecube::spectral_filter_vjp(&g, &[&h, &all], -1),
            _ => wavecube::spectral_filter_table_vjp(&x, &g, &[&all], &[1, channels, n], -1),
        };
        Ok(Prepared::lines(call, n, covered, move || {
            let of = |values: &[Complex64], row: usize| line(values, row, n).to_vec();
            let each = lines.iter().flat_map(|&row| {
                let h = of(&filters, row % channels);
                match gradient {
                    None => reference::spectral(&of(&signals, row), &[h, shared.clone()]),
                    Some(0) => {
                        let conjugate = |h: &[Complex64]| h.iter().map(Complex64::conj).collect();
                        let filters = [conjugate(&h), conjugate(&shared)];
                        reference::spectral(&of(&gradients, row), &filters)
                    }
                    _ => (0..BATCH)
                        .map(|batch| batch * channels + row)
                        .map(|row| {
                            let (x, g) = (of(&signals, row), of(&gradients, row));
                            reference::spectral_by_filter(&x, &g, &shared)
                        })
                        .reduce(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect())
                        .unwrap_or_default(),
                }
            });
            each.collect()
        }))
    });
    Case { peer: Peer::RoundTrip { n, real: false }, ..case }
}
