//! The linear canonical transform as a layer: transform, then back to real numbers.
//!
//! Along the **channels** each position is transformed by itself, which is causal by construction.
//! Along the **sequence** a two-sided transform would show every position the future, so there only
//! the masked form exists and anything else is refused when the layer is built.

use std::{
    f64::consts::FRAC_PI_2,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use wavecube_burn::{LctPlan, Normalization, Parameters};
use wavecube_core::{
    Error, Result,
    lct::{Abcd, ShearFactors, ShearForm},
};

use super::{ChirpedStream, Linear, wide};

/// The axis that is transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// The channels of each position.
    #[default]
    Channels,
    /// The positions of each channel.
    Sequence,
}

/// Whether an output may depend on every input along the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The unitary transform.
    TwoSided,
    /// The kernel masked to the past.
    Causal,
}

/// The transform, fixed, or the one that learning starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The Fourier transform.
    #[default]
    Fft,
    /// The fractional Fourier transform by `angle`.
    Frft,
    /// Free propagation over `b`.
    Fresnel,
}

/// What the learned numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterForm {
    /// The shear rates `(q₁, b, q₂)`.
    #[default]
    Shear,
    /// The Lie form `exp(p₁H + p₂X + p₃Y)`.
    Lie,
    /// The angle of a fractional Fourier transform: one number, along the channels only.
    Angle,
}

/// How the complex result becomes real channels again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComplexToReal {
    /// `[Re; Im]` through a linear map that starts as `[I; 0]`, so that the layer starts as its
    /// real part.
    #[default]
    Projection,
    /// `|y|`.
    Magnitude,
    /// `Re y`.
    Real,
}

/// An [`LctLayer`] in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct LctConfig {
    /// The axis that is transformed.
    pub axis: Axis,
    /// Two-sided or causal; by default two-sided along the channels, causal along the sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// The transform that stays (fixed) or that learning starts from.
    pub transform: Start,
    /// The angle of `frft`, in radians.
    pub angle: f64,
    /// The distance of `fresnel`.
    pub b: f64,
    /// Whether the parameters are trained: three numbers, or the one angle.
    pub learned: bool,
    /// What the trained parameters mean.
    pub parameters: ParameterForm,
    /// How the result becomes real.
    pub to_real: ComplexToReal,
    /// Apply the inverse transform instead.
    pub inverse: bool,
    /// `|b|` below this takes another factorisation and counts as degenerate.
    pub epsilon: f64,
}

impl Default for LctConfig {
    fn default() -> Self {
        Self {
            axis: Axis::Channels,
            form: None,
            transform: Start::Fft,
            angle: std::f64::consts::FRAC_PI_4,
            b: 1.0,
            learned: false,
            parameters: ParameterForm::Shear,
            to_real: ComplexToReal::Projection,
            inverse: false,
            epsilon: 1e-3,
        }
    }
}

const OP: &str = "lct layer";

impl LctConfig {
    /// Whether the kernel is masked to the past.
    pub fn is_causal(&self) -> bool {
        match self.form {
            Some(form) => form == Form::Causal,
            None => self.axis == Axis::Sequence,
        }
    }

    /// Checks the combination.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a two-sided transform along the sequence, and for the inverse of
    /// a causal one; [`Error::Value`] for numbers that are not finite or an `epsilon` that is not
    /// positive.
    pub fn validate(&self) -> Result<()> {
        for (argument, found) in [("angle", self.angle), ("b", self.b)] {
            if !found.is_finite() {
                return Err(Error::Value { op: OP, argument, expected: "finite", found });
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::Value {
                op: OP,
                argument: "epsilon",
                expected: "positive and finite",
                found: self.epsilon,
            });
        }
        if self.axis == Axis::Sequence && !self.is_causal() {
            return Err(Error::Unsupported {
                op: OP,
                argument: "form",
                reason: "a two-sided transform along the sequence sees the future, so a language \
                         model trained with it cheats; take form = \"causal\" or axis = \"channels\"",
            });
        }
        if self.inverse && self.is_causal() {
            return Err(Error::Unsupported {
                op: OP,
                argument: "inverse",
                reason: "the causal transform is not unitary and has no usable inverse; take \
                         axis = \"channels\" with form = \"two-sided\"",
            });
        }
        if self.learned && self.parameters == ParameterForm::Angle {
            if self.is_causal() {
                return Err(Error::Unsupported {
                    op: OP,
                    argument: "parameters",
                    reason: "the fractional Fourier transform by an angle has no causal form; take \
                             parameters = \"shear\" or \"lie\"",
                });
            }
            if self.transform == Start::Fresnel {
                return Err(Error::Unsupported {
                    op: OP,
                    argument: "transform",
                    reason: "free propagation is not a rotation, so no angle can be learned from \
                             it; take transform = \"fft\" or \"frft\"",
                });
            }
        }
        self.start().map(|_| ())
    }

    fn matrix(&self) -> Abcd {
        match self.transform {
            Start::Fft => Abcd::FOURIER,
            Start::Frft => Abcd::fractional_fourier(self.angle),
            Start::Fresnel => Abcd::fresnel(self.b),
        }
    }

    fn start_angle(&self) -> f64 {
        if self.transform == Start::Frft { self.angle } else { FRAC_PI_2 }
    }

    /// How the layer's numbers are to be read, and what they start as.
    fn start(&self) -> Result<(ParameterForm, Vec<f64>)> {
        let rotation = matches!(self.transform, Start::Fft | Start::Frft);
        let form = match (self.learned, self.is_causal()) {
            (true, _) => self.parameters,
            // Fixed: a rotation in the eigenbasis is exact; the others have rates of their own.
            (false, false) if rotation => ParameterForm::Angle,
            (false, _) => ParameterForm::Shear,
        };
        let values = match form {
            ParameterForm::Angle => vec![self.start_angle()],
            ParameterForm::Lie if rotation => {
                vec![0.0, self.start_angle(), -self.start_angle()]
            }
            ParameterForm::Lie => vec![0.0, self.b, 0.0],
            ParameterForm::Shear if !rotation => vec![0.0, self.b, 0.0],
            ParameterForm::Shear => {
                let matrix = self.matrix();
                if matrix.b().abs() < self.epsilon {
                    return Err(Error::Value {
                        op: OP,
                        argument: "angle",
                        expected: "such that its sine is at least epsilon where the rates are \
                                   those of shears (parameters = \"lie\" starts anywhere)",
                        found: self.angle,
                    });
                }
                ShearFactors::pinned(&matrix, 0, ShearForm::ChirpMiddleConvolution)?
                    .rates()
                    .to_vec()
            }
        };
        Ok((form, values))
    }

    /// How many parameters the layer has for `d_model` channels.
    pub fn parameter_count(&self, d_model: usize) -> usize {
        let projection =
            if self.to_real == ComplexToReal::Projection { 2 * d_model * d_model } else { 0 };
        let numbers = match (self.learned, self.parameters) {
            (false, _) => 0,
            (true, ParameterForm::Angle) => 1,
            (true, _) => 3,
        };
        projection + numbers
    }
}

/// A linear canonical transform of real channels, `[batch, time, d_model]` to the same shape.
#[derive(Module, Debug)]
pub struct LctLayer {
    learned: Option<Param<Tensor<1>>>,
    projection: Option<Linear>,
    #[module(skip)]
    config: LctConfig,
    #[module(skip)]
    form: ParameterForm,
    #[module(skip)]
    fixed: Vec<f64>,
    #[module(skip)]
    grid: usize,
    #[module(skip)]
    degenerate_hits: Arc<AtomicU64>,
}

impl LctLayer {
    /// A layer for `d_model` channels and sequences of at most `context` positions.
    ///
    /// # Errors
    ///
    /// Those of [`LctConfig::validate`].
    pub fn new(
        config: &LctConfig,
        d_model: usize,
        context: usize,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let (form, fixed) = config.start()?;
        let learned = config.learned.then(|| {
            let values: Vec<f32> = fixed.iter().map(|&value| value as f32).collect();
            let count = values.len();
            Param::from_data(TensorData::new(values, [count]), device)
        });
        let projection = (config.to_real == ComplexToReal::Projection).then(|| {
            // [Re; Im] is interleaved here: row 2c is Re of channel c, row 2c + 1 its Im.
            let mut identity = vec![0.0_f32; 2 * d_model * d_model];
            for channel in 0..d_model {
                identity[2 * channel * d_model + channel] = 1.0;
            }
            let weight =
                Param::from_data(TensorData::new(identity, [2 * d_model, d_model]), device);
            Linear::of(weight)
        });
        let grid = match config.axis {
            Axis::Channels => d_model,
            Axis::Sequence => context,
        };
        Ok(Self {
            learned,
            projection,
            config: config.clone(),
            form,
            fixed,
            grid,
            degenerate_hits: Arc::default(),
        })
    }

    /// How often `|b|` fell below `epsilon` in a forward pass since the layer was made. A pass that runs
    /// [again](crate::tape) counts again.
    pub fn degenerate_hits(&self) -> u64 {
        self.degenerate_hits.load(Ordering::Relaxed)
    }

    /// The transform applied to the complex tensor `x` (`[.., n, 2]`, `n` the transformed axis).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when `n` is not the layer's length, [`Error::Value`] when training has
    /// driven a parameter to something that is not finite.
    pub fn transform<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>> {
        self.run(x, self.config.inverse)
    }

    /// The inverse of [`transform`](Self::transform).
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Unsupported`] for a causal layer.
    pub fn inverse<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>> {
        self.run(x, !self.config.inverse)
    }

    fn run<const D: usize>(&self, x: Tensor<D>, inverse: bool) -> Result<Tensor<D>> {
        let config = &self.config;
        if self.learned.is_none() && config.transform == Start::Fft && !config.is_causal() {
            return if inverse {
                wavecube_burn::ifft(x, Normalization::Ortho)
            } else {
                wavecube_burn::fft(x, Normalization::Ortho)
            };
        }
        let n = x.dims()[D.saturating_sub(2)];
        let options = (&x.device(), x.dtype());
        let (parameters, plan) = match (&self.learned, self.form) {
            (Some(learned), ParameterForm::Angle) => {
                let [angle] = wavecube_burn::parameters_to_host(&learned.val())?;
                (learned.val(), LctPlan::fractional(n, angle)?)
            }
            (Some(learned), _) => {
                let values = wavecube_burn::parameters_to_host(&learned.val())?;
                (learned.val(), self.plan(n, values)?)
            }
            (None, ParameterForm::Angle) => {
                (Tensor::zeros([1], options), LctPlan::fractional(n, self.fixed[0])?)
            }
            (None, _) => {
                let values = [self.fixed[0], self.fixed[1], self.fixed[2]];
                (Tensor::zeros([3], options), self.plan(n, values)?)
            }
        };
        if plan.is_degenerate() {
            self.degenerate_hits.fetch_add(1, Ordering::Relaxed);
        }
        let plan = if inverse { plan.inverse()? } else { plan };
        wavecube_burn::lct(x, parameters, &plan)
    }

    fn plan(&self, n: usize, values: [f64; 3]) -> Result<LctPlan> {
        let form = match self.form {
            ParameterForm::Lie => Parameters::Lie,
            ParameterForm::Shear | ParameterForm::Angle => Parameters::Shear,
        };
        let epsilon = self.config.epsilon;
        if self.config.is_causal() {
            LctPlan::causal(n, self.grid, values, form, epsilon)
        } else {
            LctPlan::shear(n, values, form, epsilon)
        }
    }

    /// `[batch, time, d_model]` to the same shape.
    ///
    /// # Errors
    ///
    /// Those of [`transform`](Self::transform).
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>> {
        self.advance(x, None)
    }

    /// An empty past for `[batch, d_model]` lines of up to `positions`, or nothing where positions are transformed
    /// each by itself. Parameters are those of now.
    ///
    /// # Errors
    ///
    /// Those of [`transform`](Self::transform).
    pub fn begin(
        &self,
        lines: [usize; 2],
        positions: usize,
        device: &Device,
    ) -> Result<Option<ChirpedStream>> {
        if self.config.axis == Axis::Channels {
            return Ok(None);
        }
        let values = match &self.learned {
            Some(learned) => wavecube_burn::parameters_to_host(&learned.val())?,
            None => [self.fixed[0], self.fixed[1], self.fixed[2]],
        };
        let factors = self.plan(self.grid, values)?.causal_factors();
        let short =
            |factors: [Vec<_>; 3]| factors.map(|all| all[..positions.min(self.grid)].to_vec());
        Ok(factors.map(|factors| ChirpedStream::new(&short(factors), lines, device)))
    }

    /// [`forward`](Self::forward) for positions that follow those of `past`, which then has these too; `past` is what
    /// [`begin`](Self::begin) gave.
    ///
    /// # Errors
    ///
    /// Those of [`transform`](Self::transform), and [`Error::Limit`] beyond the room of the past.
    pub fn advance(&self, x: Tensor<3>, past: Option<&mut ChirpedStream>) -> Result<Tensor<3>> {
        let x = wide(x);
        if self.config.axis == Axis::Channels {
            return Ok(self.to_real(self.transform(complexify(x))?));
        }
        let lines = complexify(x.swap_dims(1, 2));
        let transformed = match past {
            Some(past) => past.push(lines)?,
            None => self.transform(lines)?,
        };
        Ok(self.to_real(transformed.permute([0, 2, 1, 3])))
    }

    /// `[batch, time, d_model, 2]` to `[batch, time, d_model]`.
    fn to_real(&self, y: Tensor<4>) -> Tensor<3> {
        let [batch, time, d_model, _] = y.dims();
        match &self.projection {
            Some(projection) => projection.forward(y.reshape([batch, time, 2 * d_model])),
            None if self.config.to_real == ComplexToReal::Magnitude => {
                // The square root has no gradient at 0: stay a little above.
                y.square().sum_dim(3).add_scalar(1e-12).sqrt().squeeze_dim(3)
            }
            None => y.narrow(3, 0, 1).squeeze_dim(3),
        }
    }
}

/// `x + 0i`: `[a, b, n]` to `[a, b, n, 2]`.
fn complexify(x: Tensor<3>) -> Tensor<4> {
    let re: Tensor<4> = x.unsqueeze_dim(3);
    let im = re.zeros_like();
    Tensor::cat(vec![re, im], 3)
}
