//! From factors to stages: which trips through memory a product of chirps, DFTs and permutations
//! takes, and the tables of each.

use crate::fft::Scale;
use wavecube_core::{
    Complex64, Result,
    fft::{Direction, host_fft, padded_len, root_of_unity},
    lct::{ScaledTables, ShearPasses, WeilPlan, WeilStep, chirp_table},
};

/// One factor of a transform of vectors of length `n`.
#[derive(Debug, Clone, PartialEq)]
pub enum Factor {
    /// Multiplication by a table of length `n`.
    Diagonal(Vec<Complex64>),
    /// The unitary DFT over the residues `0 … n − 1`.
    Dft {
        /// Whether the sign of the exponent is plus.
        inverse: bool,
    },
    /// Entry `j` of the result is entry `n − 1 − j`.
    Reverse,
    /// Entry `j` of the result is entry `multiplier·j mod n`.
    Permute {
        /// Invertible modulo `n`.
        multiplier: u64,
    },
}

/// A trip through memory. Tables are named by their place in [`Program::tables`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A DFT with its hooks, or a DFT, a filter and the DFT back.
    Transform(Transform),
    /// `y_j = factor_j · x_{index_j}`.
    Pointwise {
        /// The factor.
        factor: Option<usize>,
        /// The index table, by its place in [`Program::indices`].
        gather: Option<usize>,
    },
}

/// `after · F^∓1 · filter · F^±1 · before`, or `after · F^±1 · before` without a filter, cropped and
/// scaled, of the zero-padded input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transform {
    /// The length of the DFT.
    pub n: usize,
    /// How many points are read; the rest are zero.
    pub input_len: usize,
    /// How many points are written.
    pub output_len: usize,
    /// Read in reversed order.
    pub reversed: bool,
    /// The direction of the first DFT.
    pub direction: Direction,
    /// The factor on the way in.
    pub before: Option<usize>,
    /// The factor on the spectrum; the transform then goes back.
    pub filter: Option<usize>,
    /// The factor on the way out.
    pub after: Option<usize>,
    /// A constant factor.
    pub scale: Scale,
}

/// The stages of a transform along one axis and the tables they multiply with: host data, independent
/// of shapes and devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The length of the axis before.
    pub input_len: usize,
    /// The length of the axis after.
    pub output_len: usize,
    /// The trips through memory, in order.
    pub stages: Vec<Stage>,
    /// The complex tables.
    pub tables: Vec<Vec<Complex64>>,
    /// The index tables.
    pub indices: Vec<Vec<u32>>,
}

/// The factors of the unitary DFT of the centred grid: the residues' DFT between linear phases.
/// `n_j n_l = jl − c(j + l) + c²`, `c = (N − 1)/2`; every phase is reduced in integers.
pub fn centred_dft(n: usize, inverse: bool) -> [Factor; 3] {
    let (wide, period) = (n as u64, 2 * n as u64);
    let turn = |w: Complex64| if inverse { w } else { w.conj() };
    let slope: Vec<Complex64> =
        (0..wide).map(|j| turn(root_of_unity((wide - 1) * j % period, period))).collect();
    let centre = turn(root_of_unity((wide - 1) * (wide - 1) % (4 * wide), 4 * wide)).conj();
    let after = slope.iter().map(|w| w * centre).collect();
    [Factor::Diagonal(slope), Factor::Dft { inverse }, Factor::Diagonal(after)]
}

fn power(n: usize, power: u8) -> Vec<Factor> {
    match power % 4 {
        0 => Vec::new(),
        1 => centred_dft(n, false).to_vec(),
        2 => vec![Factor::Reverse],
        _ => centred_dft(n, true).to_vec(),
    }
}

/// The factors of the inverse of a product of unitary factors.
pub fn adjoint(n: usize, factors: &[Factor]) -> Vec<Factor> {
    let inverse_of = |multiplier: u64| {
        (0..n as u64).find(|m| m * (multiplier % n as u64) % n as u64 == 1 % n as u64).unwrap_or(1)
    };
    factors
        .iter()
        .rev()
        .map(|factor| match factor {
            Factor::Diagonal(table) => {
                Factor::Diagonal(table.iter().map(Complex64::conj).collect())
            }
            Factor::Dft { inverse } => Factor::Dft { inverse: !inverse },
            Factor::Reverse => Factor::Reverse,
            Factor::Permute { multiplier } => {
                Factor::Permute { multiplier: inverse_of(*multiplier) }
            }
        })
        .collect()
}

/// The factors of the shears, and the constant `phase`.
///
/// # Errors
/// As [`chirp_table`].
pub fn shear_factors(n: usize, passes: &ShearPasses, phase: Complex64) -> Result<Vec<Factor>> {
    let mut factors = power(n, passes.before);
    if passes.first != 0.0 {
        factors.push(Factor::Diagonal(chirp_table(n, passes.first)?));
    }
    if passes.middle != 0.0 {
        factors.extend(centred_dft(n, !passes.forward));
        factors.push(Factor::Diagonal(chirp_table(n, passes.middle)?));
        factors.extend(centred_dft(n, passes.forward));
    }
    if passes.last != 0.0 {
        factors.push(Factor::Diagonal(chirp_table(n, passes.last)?));
    }
    factors.extend(power(n, passes.after));
    if phase != Complex64::ONE {
        factors.push(Factor::Diagonal(vec![phase; n]));
    }
    Ok(factors)
}

/// The factors up to the spectrum that the middle chirp multiplies: what the gradient by its rate is
/// taken in.
///
/// # Errors
/// As [`chirp_table`].
pub fn shear_spectrum_factors(n: usize, passes: &ShearPasses) -> Result<Vec<Factor>> {
    let mut factors = power(n, passes.before);
    if passes.first != 0.0 {
        factors.push(Factor::Diagonal(chirp_table(n, passes.first)?));
    }
    factors.extend(centred_dft(n, !passes.forward));
    Ok(factors)
}

/// The factors of a chirp, a DFT and a chirp.
pub fn scaled_factors(n: usize, tables: &ScaledTables) -> Vec<Factor> {
    let mut factors = vec![Factor::Diagonal(tables.input.clone())];
    factors.extend(centred_dft(n, tables.inverse));
    factors.push(Factor::Diagonal(tables.output.clone()));
    factors
}

/// The factors of an integer matrix.
///
/// # Errors
/// As [`WeilPlan::chirp_table`].
pub fn weil_factors(plan: &WeilPlan) -> Result<Vec<Factor>> {
    let mut factors = Vec::new();
    for step in &plan.steps {
        match *step {
            WeilStep::Chirp { rate, modulus } => {
                factors.push(Factor::Diagonal(plan.chirp_table(rate, modulus)?));
            }
            WeilStep::Dft { inverse } => factors.push(Factor::Dft { inverse }),
            WeilStep::Permute { multiplier } => factors.push(Factor::Permute { multiplier }),
            WeilStep::Phase { eighths } => {
                let phase = root_of_unity(u64::from(8 - eighths % 8), 8);
                factors.push(Factor::Diagonal(vec![phase; plan.n]));
            }
            // A step that this version does not know cannot come from a plan of this version.
            _ => {}
        }
    }
    Ok(factors)
}

impl Program {
    /// The stages of a product of factors, first to last: neighbouring tables become one, a DFT and its
    /// inverse become a round trip, and chirps become hooks of the DFTs beside them.
    pub fn of_factors(n: usize, factors: &[Factor]) -> Self {
        let mut program = Self {
            input_len: n,
            output_len: n,
            stages: Vec::new(),
            tables: Vec::new(),
            indices: Vec::new(),
        };
        let factors = simplified(factors);
        let mut rest = factors.as_slice();
        while !rest.is_empty() {
            rest = program.take(n, rest);
        }
        if program.stages.is_empty() {
            program.stages.push(Stage::Pointwise { factor: None, gather: None });
        }
        program
    }

    /// Emits one stage and returns the factors that are left.
    fn take<'a>(&mut self, n: usize, factors: &'a [Factor]) -> &'a [Factor] {
        let mut rest = factors;
        let mut gather = None;
        if let Some((Factor::Reverse | Factor::Permute { .. }, tail)) = rest.split_first() {
            gather = rest.first();
            rest = tail;
        }
        let before = self.take_table(&mut rest);
        let reversed = matches!(gather, Some(Factor::Reverse));
        let transforms = matches!(rest.first(), Some(Factor::Dft { .. }));
        if !transforms || matches!(gather, Some(Factor::Permute { .. })) {
            let gather = gather.map(|factor| self.gather(n, factor));
            self.stages.push(Stage::Pointwise { factor: before, gather });
            return rest;
        }
        let Some((Factor::Dft { inverse }, tail)) = rest.split_first() else { return rest };
        rest = tail;
        let mut after = self.take_table(&mut rest);
        let mut filter = None;
        let mut scale = 1.0 / (n as f64).sqrt();
        if let Some((Factor::Dft { inverse: back }, tail)) = rest.split_first()
            && back != inverse
            && after.is_some()
        {
            rest = tail;
            filter = after;
            after = self.take_table(&mut rest);
            scale = 1.0 / n as f64;
        }
        self.stages.push(Stage::Transform(Transform {
            n,
            input_len: n,
            output_len: n,
            reversed,
            direction: if *inverse { Direction::Inverse } else { Direction::Forward },
            before,
            filter,
            after,
            scale: scale.into(),
        }));
        rest
    }

    fn take_table(&mut self, rest: &mut &[Factor]) -> Option<usize> {
        let Some((Factor::Diagonal(table), tail)) = rest.split_first() else { return None };
        *rest = tail;
        Some(self.table(table.clone()))
    }

    fn table(&mut self, table: Vec<Complex64>) -> usize {
        self.tables.push(table);
        self.tables.len() - 1
    }

    fn gather(&mut self, n: usize, factor: &Factor) -> usize {
        let n = n as u64;
        let index = |j: u64| match factor {
            Factor::Permute { multiplier } => multiplier % n * j % n,
            _ => n - 1 - j,
        };
        self.indices.push((0..n).map(|j| index(j) as u32).collect());
        self.indices.len() - 1
    }

    /// `output · (h ∗ (input · x))` with `h` at the lags `first_lag …`: `filter[i]` is the response at lag
    /// `first_lag + i`. The result has as many points as `output`.
    pub fn convolution(
        input: Vec<Complex64>,
        filter: &[Complex64],
        output: Vec<Complex64>,
        first_lag: isize,
    ) -> Self {
        let padded = padded_len(input.len() + output.len() - 1);
        let mut spectrum = vec![Complex64::ZERO; padded];
        for (i, value) in filter.iter().enumerate() {
            let lag = first_lag + i as isize;
            if let Some(place) = spectrum.get_mut(lag.rem_euclid(padded as isize) as usize) {
                *place = *value;
            }
        }
        host_fft(&mut spectrum, Direction::Forward);
        // What goes there and back comes out `padded` times as large: taken here, nothing in between is.
        for value in &mut spectrum {
            *value /= padded as f64;
        }
        let (input_len, output_len) = (input.len(), output.len());
        Self {
            input_len,
            output_len,
            stages: vec![Stage::Transform(Transform {
                n: padded,
                input_len,
                output_len,
                reversed: false,
                direction: Direction::Forward,
                before: Some(0),
                filter: Some(1),
                after: Some(2),
                scale: Scale::ONE,
            })],
            tables: vec![input, spectrum, output],
            indices: Vec::new(),
        }
    }

    /// The adjoint of a [`Self::convolution`]: the same trip with conjugate tables, from the other end.
    #[must_use]
    pub fn adjoint_convolution(mut self) -> Self {
        core::mem::swap(&mut self.input_len, &mut self.output_len);
        for stage in &mut self.stages {
            if let Stage::Transform(transform) = stage {
                core::mem::swap(&mut transform.input_len, &mut transform.output_len);
                core::mem::swap(&mut transform.before, &mut transform.after);
            }
        }
        for value in self.tables.iter_mut().flatten() {
            *value = value.conj();
        }
        self
    }

    /// The bytes of all tables in `f32`, for caches.
    pub fn bytes(&self) -> usize {
        let complex: usize = self.tables.iter().map(Vec::len).sum();
        let indices: usize = self.indices.iter().map(Vec::len).sum();
        8 * complex + 4 * indices
    }
}

/// Joins neighbouring tables, moves reversals ahead of tables, and drops what cancels.
fn simplified(factors: &[Factor]) -> Vec<Factor> {
    let mut out: Vec<Factor> = Vec::new();
    for factor in factors {
        let joined = match (out.last_mut(), factor) {
            (Some(Factor::Diagonal(table)), Factor::Diagonal(next)) => {
                for (value, next) in table.iter_mut().zip(next) {
                    *value *= next;
                }
                true
            }
            (Some(Factor::Reverse), Factor::Reverse) => {
                out.pop();
                true
            }
            _ => false,
        };
        if joined {
            continue;
        }
        if matches!(factor, Factor::Reverse)
            && let Some(Factor::Diagonal(mut table)) =
                out.pop_if(|f| matches!(f, Factor::Diagonal(_)))
        {
            // P·D = (reversed D)·P, and P may meet another P.
            table.reverse();
            if out.pop_if(|f| matches!(f, Factor::Reverse)).is_none() {
                out.push(Factor::Reverse);
            }
            out.push(Factor::Diagonal(table));
            continue;
        }
        out.push(factor.clone());
    }
    out
}
