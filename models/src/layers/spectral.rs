//! The spectral mixer: a complex filter for every channel, and five cures for what plain filtering
//! by a Fourier transform cannot tell apart.

use std::f64::consts::TAU;

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use num_complex::Complex64;
use serde::{Deserialize, Serialize};
use wavecube_burn::{
    causal_convolution, fft, from_polar, ifft, mod_relu, phase_mix, phase_rotate, sigmoid_gate,
    spectral_filter,
};
use wavecube_core::{Error, Result, fft::Normalization};

use super::{CausalStream, Linear, linear, wide};
use crate::random::Random;

/// A [`SpectralMixer`] in words. Every cure is a switch of its own; those that are on by default are those
/// that lowered the loss of a byte-level model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectralConfig {
    /// Complex channels; half of `d_model` when it is 0.
    pub channels: usize,
    /// How many positions back a filter reaches; the context when it is 0.
    pub taps: usize,
    /// The phase of half of the channels turns with the position, at a rate for each channel.
    pub anchored: bool,
    /// The token at a position sets how much of each band it takes.
    pub gated: bool,
    /// Magnitudes and phases of channels are mixed apart.
    pub phase_aware: bool,
    /// Bands of frequencies with thresholds of their own; 1 is all in one, without a threshold.
    pub bands: usize,
    /// Filters reach back only. Without it they wrap around: not for language models.
    pub causal: bool,
}

impl Default for SpectralConfig {
    fn default() -> Self {
        Self {
            channels: 0,
            taps: 0,
            anchored: false,
            gated: true,
            phase_aware: true,
            bands: 1,
            causal: true,
        }
    }
}

const OP: &str = "spectral mixer";
/// The magnitude below which mixed channels fade.
const FLOOR: f64 = 1e-4;
/// What thresholds are at the start: the least of what filters give is cut.
const THRESHOLD: f32 = -0.1;
/// How much slower than the quickest the slowest phases turn.
const TURN: f64 = 100.0;
/// The most bands: each begins at a quarter of the frequency of the next.
const BANDS: usize = 8;

impl SpectralConfig {
    /// Filters without any cure but causality.
    pub fn plain() -> Self {
        Self { anchored: false, gated: false, phase_aware: false, bands: 1, ..Self::default() }
    }

    /// Every cure.
    pub fn full() -> Self {
        Self { anchored: true, gated: true, phase_aware: true, bands: 3, ..Self::default() }
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for a number of bands that is not between 1 and 8.
    pub fn validate(&self) -> Result<()> {
        if (1..=BANDS).contains(&self.bands) {
            return Ok(());
        }
        let (expected, found) = ("between 1 and 8", self.bands);
        Err(Error::Length { op: OP, argument: "bands", expected, found })
    }

    /// The number of complex channels.
    pub fn width(&self, d_model: usize) -> usize {
        if self.channels == 0 { (d_model / 2).max(1) } else { self.channels }
    }

    /// The reach of filters.
    pub fn reach(&self, context: usize) -> usize {
        if self.taps == 0 { context } else { self.taps }
    }

    /// The number of parameters.
    pub fn parameter_count(&self, d_model: usize, context: usize) -> usize {
        let width = self.width(d_model);
        let gate = if self.gated { d_model * self.bands * width } else { 0 };
        let thresholds = if self.bands > 1 { self.bands * width } else { 0 };
        let phases = if self.phase_aware { 3 * width * width } else { 0 };
        4 * d_model * width + 2 * width * self.reach(context) + gate + thresholds + phases
    }
}

/// The spectral mixer.
///
/// Tokens become `v`, complex channels; every channel has a filter `h`, given by its spectrum on `taps`
/// frequencies, `H_k = r_k e^{iφ_k}` with magnitude `r` and phase `φ` learned, and `y = h * v`, in
/// `O(n log n)` by Fourier transforms. Re `y` and Im `y` are mapped back to the channels of the model.
///
/// That alone is linear and the same everywhere: the sum of `y` over a circle of positions does not
/// depend on the order of the tokens. The cures:
///
/// 1. `anchored`: `v_t` of half of the channels turns by `e^{iω t}`, `ω` from a turn in `taps` positions to
///    a hundredth of that, as rotary embeddings have them. It moves the spectrum of a channel by `ω` and is not
///    undone, so phase tells positions apart.
/// 2. `gated`: `y_t` is weighed, band by band and channel by channel, with `σ(W x_t)`.
/// 3. `phase_aware`: `z = (A |y|) · Cy/|Cy|`, with `A` real and `C` complex: magnitudes and directions
///    are mixed apart. Turning all channels turns the result with them. At zero, magnitudes are taken as
///    `√(|y|² + ε²)`, `ε = 10⁻⁴`, so a channel that vanishes has no direction, and no infinite
///    gradient.
/// 4. `bands`: the spectrum falls into bands, each a fourth as high as the next, whose filters run side by
///    side and whose outputs lose a learned magnitude (modReLU), which cuts the smallest.
/// 5. `causal`: filters reach back only, and nothing wraps around: output `t` depends on `0..=t`.
#[derive(Module, Debug)]
pub struct SpectralMixer {
    inward: Linear,
    /// `[width, taps]` each.
    radius: Param<Tensor<2>>,
    phase: Param<Tensor<2>>,
    gate: Option<Linear>,
    /// `[bands, width]`.
    threshold: Option<Param<Tensor<2>>>,
    mixing: Option<PhaseMixing>,
    out: Linear,
    #[module(skip)]
    config: SpectralConfig,
}

/// The matrices of [`SpectralConfig::phase_aware`].
#[derive(Module, Debug)]
struct PhaseMixing {
    magnitudes: Param<Tensor<2>>,
    /// Real and imaginary part.
    directions: Vec<Param<Tensor<2>>>,
}

impl PhaseMixing {
    /// The identity, and a little noise.
    fn new(width: usize, random: &mut Random, device: &Device) -> Self {
        let noise = 0.1 / (width as f64).sqrt();
        let mut near = |diagonal: f64| {
            let values = (0..width * width).map(|i| {
                let identity = if i / width == i % width { diagonal } else { 0.0 };
                (identity + noise * random.normal()) as f32
            });
            Param::from_data(TensorData::new(values.collect::<Vec<_>>(), [width, width]), device)
        };
        Self { magnitudes: near(1.0), directions: vec![near(1.0), near(0.0)] }
    }

    /// `[batch, time, width, 2]`.
    fn forward(&self, y: Tensor<4>) -> Result<Tensor<4>> {
        let [re, im] = [&self.directions[0], &self.directions[1]].map(Param::val);
        phase_mix(y, self.magnitudes.val(), Tensor::stack(vec![re, im], 2), FLOOR)
    }
}

/// The filter that forgets by `λ` a position while its phase turns by `ω`, by its spectrum on `taps`
/// frequencies: `Σ_{τ < taps} √(1 − λ²) λ^τ e^{iωτ} e^{−2πikτ/taps}`, of energy 1 but for its end.
fn fading(taps: usize, lambda: f64, omega: f64, k: usize) -> Complex64 {
    let step = |angle: f64| Complex64::from_polar(lambda, angle);
    let ratio = step(omega - TAU * k as f64 / taps as f64);
    let last = step(omega).powi(taps as i32);
    (1.0 - lambda * lambda).sqrt() * (1.0 - last) / (1.0 - ratio)
}

impl SpectralMixer {
    /// A mixer for `d_model` channels and `context` positions; `residual_gain` scales the way back into
    /// the residual stream.
    ///
    /// # Errors
    ///
    /// Those of [`SpectralConfig::validate`].
    pub fn new(
        config: &SpectralConfig,
        [d_model, context]: [usize; 2],
        residual_gain: f64,
        random: &mut Random,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let (width, taps) = (config.width(d_model), config.reach(context));
        // Memories from one position to a fourth of the reach, evenly in their logarithm.
        let spectrum: Vec<Complex64> = (0..width)
            .flat_map(|channel| {
                let share = (channel as f64 + 0.5) / width as f64;
                let memory = (taps as f64 / 4.0).max(1.0).powf(share);
                let omega = 0.5 * random.normal() / memory;
                (0..taps).map(move |k| fading(taps, (-1.0 / memory).exp(), omega, k))
            })
            .collect();
        let table = |of: fn(&Complex64) -> f64| {
            let values: Vec<f32> = spectrum.iter().map(|value| of(value) as f32).collect();
            Param::from_data(TensorData::new(values, [width, taps]), device)
        };
        Ok(Self {
            inward: linear(d_model, 2 * width, 1.0, random, device),
            radius: table(|value| value.norm()),
            phase: table(|value| value.arg()),
            gate: config.gated.then(|| linear(d_model, config.bands * width, 1.0, random, device)),
            threshold: (config.bands > 1).then(|| {
                let values = vec![THRESHOLD; config.bands * width];
                Param::from_data(TensorData::new(values, [config.bands, width]), device)
            }),
            mixing: config.phase_aware.then(|| PhaseMixing::new(width, random, device)),
            out: linear(2 * width, d_model, residual_gain, random, device),
            config: config.clone(),
        })
    }

    fn width(&self) -> usize {
        self.radius.dims()[0]
    }

    /// `[batch, time, d_model]` to the same shape.
    ///
    /// # Errors
    ///
    /// Those of [`causal_convolution`].
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>> {
        let v = self.channels(x.clone(), 0)?;
        let h = self.filters()?;
        let y = if self.config.causal { causal_convolution(v, h)? } else { circular(v, h)? };
        self.read_out(x, y)
    }

    /// An empty past for `batch` sequences of up to `capacity` positions.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for filters that wrap around.
    pub fn begin(&self, batch: usize, capacity: usize) -> Result<CausalStream> {
        if !self.config.causal {
            let reason = "filters that wrap around need the whole sequence at once";
            return Err(Error::Unsupported { op: OP, argument: "causal", reason });
        }
        Ok(CausalStream::new(self.filters()?, batch, capacity))
    }

    /// The next positions, `[batch, time, d_model]`: what [`forward`](Self::forward) makes of them behind all
    /// those that `past` has taken.
    ///
    /// # Errors
    ///
    /// Those of [`CausalStream::push`].
    pub fn advance(&self, x: Tensor<3>, past: &mut CausalStream) -> Result<Tensor<3>> {
        let v = self.channels(x.clone(), past.position())?;
        let y = past.push(v)?;
        self.read_out(x, y)
    }

    /// The complex channels of every band, `[batch, bands · width, time, 2]`, of the positions from `first`.
    fn channels(&self, x: Tensor<3>, first: usize) -> Result<Tensor<4>> {
        let [batch, time, _] = x.dims();
        let width = self.width();
        let parts = wide(self.inward.forward(x)).reshape([batch, time, 2, width]);
        let mut v = parts.permute([0, 3, 1, 2]);
        if self.config.anchored {
            let turn = TAU / self.radius.dims()[1] as f64;
            let angles: Vec<f32> = (0..width)
                .flat_map(|channel| {
                    let share = 2.0 * channel as f64 / width as f64;
                    let rate = if share < 1.0 { TURN.powf(-share) * turn } else { 0.0 };
                    (first..first + time).map(move |t| (t as f64 * rate % TAU) as f32)
                })
                .collect();
            let angles = TensorData::new(angles, [1, width, time]);
            v = phase_rotate(v.clone(), Tensor::<3>::from_data(angles, &v.device()))?;
        }
        Ok(Tensor::cat(vec![v; self.config.bands], 1))
    }

    /// The filters of every band, `[bands · width, taps, 2]`.
    fn filters(&self) -> Result<Tensor<3>> {
        let spectrum = from_polar(Tensor::stack(vec![self.radius.val(), self.phase.val()], 2))?;
        let bands = (0..self.config.bands).map(|band| self.band(band).unsqueeze_dim::<3>(2));
        let spectra: Vec<Tensor<3>> = bands.map(|band| spectrum.clone() * band).collect();
        ifft(Tensor::cat(spectra, 0), Normalization::Backward)
    }

    /// 1 at the frequencies of a band, `[1, taps]`. Band 0 has the lowest, the last has those from an
    /// eighth of the rate of positions up.
    fn band(&self, band: usize) -> Tensor<2> {
        let taps = self.radius.dims()[1];
        let last = self.config.bands - 1;
        let begins = |band: usize| match band {
            0 => 0.0,
            _ => 0.125 * 0.25_f64.powi((last - band) as i32),
        };
        let ends = if band == last { 1.0 } else { begins(band + 1) };
        let values: Vec<f32> = (0..taps)
            .map(|k| {
                let frequency = k.min(taps - k) as f64 / taps as f64;
                if (begins(band)..ends).contains(&frequency) { 1.0 } else { 0.0 }
            })
            .collect();
        Tensor::from_data(TensorData::new(values, [1, taps]), &self.radius.device())
    }

    /// From the filtered channels, `[batch, bands · width, time, 2]`, of the positions `x`.
    fn read_out(&self, x: Tensor<3>, y: Tensor<4>) -> Result<Tensor<3>> {
        let [batch, time, _] = x.dims();
        let (bands, width) = (self.config.bands, self.width());
        let mut y = y.reshape([batch, bands, width, time, 2]);
        if let Some(gate) = &self.gate {
            let open = wide(gate.forward(x)).swap_dims(1, 2).reshape([batch, bands, width, time]);
            y = sigmoid_gate(y, open)?;
        }
        if let Some(threshold) = &self.threshold {
            y = mod_relu(y, threshold.val().reshape([1, bands, width, 1]))?;
        }
        // One by one: the gradient of Burn 0.22's sum along an axis is itself such a sum, over one number, which its kernels
        // take in the wrong order where the gradient comes with its axes swapped.
        let sum = (0..bands).map(|band| y.clone().narrow(1, band, 1)).reduce(|sum, y| sum + y);
        let sum = sum.expect("at least one band");
        let mut y: Tensor<4> = sum.squeeze_dim::<4>(1).swap_dims(1, 2);
        if let Some(mixing) = &self.mixing {
            y = mixing.forward(y)?;
        }
        Ok(self.out.forward(y.swap_dims(2, 3).reshape([batch, time, 2 * width])))
    }
}

/// The filters `h` (`[channels, taps, 2]`) around a circle of the positions of `v`
/// (`[batch, channels, time, 2]`). Lags beyond it have no effect.
fn circular(v: Tensor<4>, h: Tensor<3>) -> Result<Tensor<4>> {
    let [_, channels, time, _] = v.dims();
    let taps = h.dims()[1];
    let h = if taps < time {
        let nothing = Tensor::zeros([channels, time - taps, 2], &h.device());
        Tensor::cat(vec![h, nothing], 1)
    } else {
        h.narrow(1, 0, time)
    };
    spectral_filter(v, fft(h, Normalization::Backward)?.unsqueeze())
}
