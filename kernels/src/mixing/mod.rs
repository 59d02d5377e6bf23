//! Complex numbers element by element, by magnitude and phase, and normalised over the channels.
//!
//! # Formula
//! For `z = s e^{iφ}`, `s = |z|`, `u = z/s`, and a real `w`, one of
//!
//! | [`Map`] | value |
//! |---|---|
//! | `ModRelu` | `max(s + w, 0) u` |
//! | `Cardioid` | `½ (1 + cos φ) z` |
//! | `Rotate` | `e^{iw} z` |
//! | `Gate` | `σ(w) z`, `σ(w) = 1/(1 + e^{−w})` |
//! | `Polar` | the pair `(s, φ)`, `φ` in `(−π, π]` |
//! | `Cartesian` | `r e^{iφ}` from the pair `(r, φ)` |
//!
//! along a line of `n`, complex or real, `y_j = w_j z_j / √(mean |z|² + ε)`; and from a line of channels `y`, their
//! magnitudes mixed by a real matrix `A` and their directions by a complex one `C`,
//!
//! ```text
//! z_o = m_o t_o/n_o,  m = A s,  s_i = √(|y_i|² + ε²),  t = C y,  n_o = √(|t_o|² + ε²).
//! ```
//!
//! Turning all of `y` turns `z` with it. A channel far below `ε` has no direction, and `z` fades to nothing with `t`.
//!
//! Gradients are in the convention `∂ℓ/∂Re + i ∂ℓ/∂Im`, twice Wirtinger's derivative by the conjugate:
//! with `p = Re(z̄ g)`, `q = Re(ū g)`,
//!
//! | | of `z` | of `w` |
//! |---|---|---|
//! | `ModRelu` | `q u + (s + w)/s · (g − q u)` where `s + w > 0` | `q` there |
//! | `Cardioid` | `½ (1 + cos φ) g + ½ p/s · (sin² φ − i sin φ cos φ)` | |
//! | `Rotate` | `e^{−iw} g` | `Im(ȳ g)` |
//! | `Gate` | `σ g` | `σ (1 − σ) p` |
//! | `Polar` | `u (g_s + i g_φ/s)` | |
//! | `Cartesian` | the pair of `Re(e^{−iφ} g)` and `r Im(e^{−iφ} g)` | |
//! | norm | `(w_j g_j − z_j/(n ρ²) Σ_k w_k Re(z̄_k g_k))/ρ`, `ρ` the root | `Re(z̄_j g_j)/ρ` |
//!
//! For mixed channels, with `u = t/n`: `∂m = Re(ū g)`, `∂t = m/n (g − u Re(ū g))`, `∂y_i = y_i/s_i (Aᵀ ∂m)_i + (Cᴴ ∂t)_i`,
//! `∂A = Σ ∂m sᵀ` and `∂C = Σ ∂t yᴴ` over all lines: finite everywhere, at zero too.
//!
//! A number without a direction, `z = 0`, has `u = 0` and `cos φ = sin φ = 0`, in values and gradients: its
//! gradient is 0 by `ModRelu` and `Polar`, and `½ g` by `Cardioid`.
//!
//! # Operands
//! `z`, `g` complex or pairs, of the norm real too, `w` real, of any strides; `w` has the rank of `z` and 1 on every
//! axis that shares it. Results and gradients are contiguous; the gradient of `w` comes for every element of `z`, to
//! be summed over the axes that share one ([`SumPlan`](crate::sum::SumPlan)).
//!
//! # Supported
//! `f16` and `bf16` (computed in `f32`), `f32`; `f64` for `ModRelu`, `Cardioid`, the norm and mixed channels, which have
//! no 16 bits.
//! Empty tensors.
//!
//! # Rejected
//! `f64` where a sine, an exponential or an arcus is needed: their polynomials here are for `f32`. Shapes
//! that do not belong together, types that the device lacks, buffers beyond its largest: all in
//! [`MapPlan::new`], [`RmsNormPlan::new`] and [`PhaseMixPlan::new`], before anything is enqueued.
//!
//! # Work mapping
//! A unit an element. For the norm, `units` of a cube a line, which sum every `units`-th element and then a tree of
//! fixed order in shared memory, a number a unit; one unit a line in software, without a barrier. For mixed channels a
//! unit a result of four lines, which share what is read of the matrices. For `Σ g xᴴ` over lines, which gradients of
//! matrices are, a unit a square of four by four results of a share of the lines; shares are then summed.
//!
//! # Cost
//! In `f32` 16 bytes an element and 4 for `w`, 24 to 32 for the gradients; 10 to 40 flop. Memory is the limit. The norm of
//! real elements: 8 bytes, 16 for the gradients, whose parts by `w` are then summed. Mixed
//! channels take 16 flop and a root a term, `inputs` terms a result: arithmetic is the limit from a few channels on.
//! `Σ g xᴴ` takes 8 flop for each of `inputs · outputs` results of a line and reads 8 bytes for each of its
//! `inputs + outputs` numbers: arithmetic is the limit there too.
//!
//! # Error
//! Sine, cosine, arcus tangent and exponentials are those of [`functions`](crate::functions): drivers may miss by 2⁻¹¹.
//! Against `f64`: relative to the largest value a few `ε`, for angles of any size, and for operands of any size as long as
//! these, results and the products in them are normal numbers: 2^±100 in `f32`, 2^±900 in `f64`. `ε` of the norm and of
//! mixed channels is a normal number of the type that is computed in.
//!
//! # What is no number
//!
//! | in | NaN | ∞, −∞ |
//! |---|---|---|
//! | `z`, of maps and their gradients | NaN in its element | not finite there, but for the angle of `Polar`, which is that of the limit |
//! | `w` of `ModRelu` | NaN where it counts | ∞: not finite; −∞: cuts all, 0 |
//! | `w` of `Rotate` | NaN where it counts | NaN |
//! | `w` of `Gate` | NaN where it counts | open, `z`; shut, 0 |
//! | `g` | NaN in its element, 0 where `ModRelu` cuts | not finite there |
//! | `z` of the norm | NaN in all of its line, and of the gradient's | NaN there |
//! | `w` of the norm | NaN where it counts; by `z` in every line that has it | not finite there |
//! | `y` of mixed channels | NaN in all results of its line | not finite there |
//! | an entry of `A` or `C` | NaN in its result of every line | not finite there |
//!
//! All other results have the bits that they have without it.
//!
//! # References
//! Arjovsky, Shah and Bengio 2016, *Unitary evolution recurrent neural networks*, eq. 8 (modReLU); Virtue, Yu and
//! Lustig 2017, *Better than real*, eq. 8 (cardioid); Zhang and Sennrich 2019, *Root mean square layer normalization*, eq. 4;
//! Kreutz-Delgado 2009, *The complex gradient operator*, eq. 31.

mod kernel;
mod launch;
mod outer;
mod phase_mix;
mod plan;

pub use launch::{
    MapBindings, MapGradients, PhaseMixBindings, PhaseMixGradients, map_launch, map_vjp_launch,
    phase_mix_launch, phase_mix_vjp_launch, rms_norm_launch, rms_norm_vjp_launch,
};
pub use outer::{OuterPlan, outer_launch};
pub use plan::{Map, MapPlan, NormConfig, PhaseMixPlan, PhaseMixProblem, RmsNormPlan};
