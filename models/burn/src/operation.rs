//! What an operation says of itself, the table of all of them, and the one trait through which backends run them.

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::{
    backend::{
        Backend, Dispatch, backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::DType,
};
use cubecl::server::Handle;
use wavecube::Tensor;
use wavecube_core::{Error, Result};

#[cfg(feature = "fusion")]
use crate::tensors::{CodesMetadata, NumbersMetadata, OutcomeMetadata};
use crate::{
    adam::AdamW,
    attention::{Attend, AttendVjp},
    convolution::{CausalConvolution, CausalConvolutionVjp},
    elementary::{Logistic, LogisticVjp, Softplus, SoftplusVjp, SquaredRelu, SquaredReluVjp},
    fft::{Fft, Irfft, IrfftVjp, Rfft, RfftVjp},
    lct::{Lct, LctFixed, LctVjp},
    loss::{CrossEntropy, CrossEntropyVjp},
    maps::{
        Cardioid, CardioidVjp, FromPolar, FromPolarVjp, ModRelu, ModReluVjp, PhaseRotate,
        PhaseRotateVjp, SigmoidGate, SigmoidGateVjp, ToPolar, ToPolarVjp,
    },
    mixing::{
        ComplexLinear, ComplexLinearVjp, ComplexRmsNorm, ComplexRmsNormVjp, PhaseMix, PhaseMixVjp,
    },
    norm::{RmsNorm, RmsNormVjp},
    product::{Linear, LinearVjp},
    qmatmul::{Qmatmul, QmatmulComplex, QmatmulVjp},
    rotary::{Turn, TurnVjp},
    spectral_filter::{SpectralFilter, SpectralFilterVjp},
    systems::{LogDeterminant, LogDeterminantVjp, TridiagonalSolve, TridiagonalSolveVjp},
    tensors::{Codes, Numbers, Outcome},
    tridiag::{
        LeadingResolvent, LeadingResolventVjp, ResolventDiagonal, ResolventDiagonalVjp,
        ResolventKept, ResolventKeptVjp,
    },
};

/// What the gradient of an operation needs of it, by number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept {
    pub(crate) operands: &'static [usize],
    pub(crate) results: &'static [usize],
}

/// One operation with its options, of `OPERANDS` tensors of numbers and `CODES` tensors of integers, with `RESULTS`
/// results, the first of which is differentiated.
pub(crate) trait Operation<const OPERANDS: usize, const CODES: usize, const RESULTS: usize> {
    /// What errors and counts call it.
    const NAME: &'static str;

    /// The operands whose last axis is the pair (re, im).
    const COMPLEX: [bool; OPERANDS];

    /// The operands that [`kernel`](Self::kernel) takes with their strides, whatever these are, if the numbers of the
    /// last axis are adjacent. The others come contiguous.
    const STRIDED: [bool; OPERANDS] = [false; OPERANDS];

    /// The shapes of the results.
    #[cfg(feature = "fusion")]
    fn shapes(&self, operands: [&[usize]; OPERANDS]) -> [Vec<usize>; RESULTS];

    /// The element types of the results, of which most are that of the first operand.
    fn dtypes(&self, first: DType) -> [DType; RESULTS] {
        [first; RESULTS]
    }

    /// By kernels of the `wavecube` crate; complex operands come as such. There is none where Burn has operations that
    /// are as good.
    ///
    /// # Errors
    ///
    /// Those of the kernels; [`Error::Unsupported`] where there is none.
    fn kernel(
        &self,
        _operands: [&Tensor; OPERANDS],
        _codes: [&Handle; CODES],
    ) -> Result<[Tensor; RESULTS]> {
        let reason = "it is made of Burn's operations";
        Err(Error::Unsupported { op: Self::NAME, argument: "operands", reason })
    }

    /// By operations that every backend has, or on the host in `f64`.
    fn plain<B: Backend>(
        &self,
        operands: [FloatTensor<B>; OPERANDS],
        codes: [IntTensor<B>; CODES],
    ) -> [FloatTensor<B>; RESULTS];

    /// Where the host is the device, if there is a quicker way than [`plain`](Self::plain).
    #[cfg(feature = "flex")]
    fn flex(
        &self,
        _operands: [&FlexTensor; OPERANDS],
        _codes: [&FlexTensor; CODES],
    ) -> Option<[FlexTensor; RESULTS]> {
        None
    }

    /// What [`vjp`](Self::vjp) takes before the gradient of the result.
    fn kept(&self) -> Kept {
        Kept::default()
    }

    /// The operation that gives the gradients of the operands, from what was [`kept`](Self::kept), operands first, the
    /// gradient of the first result, and the same codes. It is not differentiable itself.
    fn vjp(&self, operands: [&[usize]; OPERANDS]) -> Option<Op>;
}

/// As many as the table says.
fn counted<T, const N: usize>(items: impl IntoIterator<Item = T>) -> [T; N] {
    let items: Vec<T> = items.into_iter().collect();
    let found = items.len();
    items.try_into().unwrap_or_else(|_| panic!("{found} operands for {N}"))
}

macro_rules! operations {
    ($($name:ident($operands:literal, $codes:literal, $results:literal),)*) => {
        /// Any operation with its options.
        #[derive(Debug, Clone)]
        pub(crate) enum Op {
            $($name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(operation: $name) -> Self {
                Self::$name(operation)
            }
        })*

        impl Op {
            pub(crate) fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => <$name as Operation<$operands, $codes, $results>>::NAME,)*
                }
            }

            #[cfg_attr(
                not(any(feature = "wgpu", feature = "cuda", feature = "cpu")),
                expect(dead_code, reason = "a build without kernels")
            )]
            pub(crate) fn complex(&self) -> &'static [bool] {
                match self {
                    $(Self::$name(_) => {
                        &<$name as Operation<$operands, $codes, $results>>::COMPLEX
                    })*
                }
            }

            #[cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu"))]
            pub(crate) fn strided(&self) -> &'static [bool] {
                match self {
                    $(Self::$name(_) => {
                        &<$name as Operation<$operands, $codes, $results>>::STRIDED
                    })*
                }
            }

            #[cfg(feature = "fusion")]
            pub(crate) fn shapes(&self, operands: &[&[usize]]) -> Vec<Vec<usize>> {
                match self {
                    $(Self::$name(op) => {
                        let operands = counted(operands.iter().copied());
                        let shapes: [_; $results] =
                            Operation::<$operands, $codes, $results>::shapes(op, operands);
                        shapes.into()
                    })*
                }
            }

            pub(crate) fn dtypes(&self, first: DType) -> Vec<DType> {
                match self {
                    $(Self::$name(op) => {
                        let dtypes: [_; $results] =
                            Operation::<$operands, $codes, $results>::dtypes(op, first);
                        dtypes.into()
                    })*
                }
            }

            #[cfg_attr(
                not(any(feature = "wgpu", feature = "cuda", feature = "cpu")),
                expect(dead_code, reason = "a build without kernels")
            )]
            pub(crate) fn kernel(
                &self,
                operands: &[Tensor],
                codes: &[Handle],
            ) -> Result<Vec<Tensor>> {
                match self {
                    $(Self::$name(op) => {
                        let results: [_; $results] = Operation::<$operands, $codes, $results>::kernel(
                            op, counted(operands), counted(codes),
                        )?;
                        Ok(results.into())
                    })*
                }
            }

            pub(crate) fn plain<B: Backend>(
                &self,
                operands: Vec<FloatTensor<B>>,
                codes: Vec<IntTensor<B>>,
            ) -> Vec<FloatTensor<B>> {
                match self {
                    $(Self::$name(op) => {
                        let results: [_; $results] =
                            Operation::<$operands, $codes, $results>::plain::<B>(
                                op, counted(operands), counted(codes),
                            );
                        results.into()
                    })*
                }
            }

            #[cfg(feature = "flex")]
            pub(crate) fn flex(
                &self,
                operands: &[FlexTensor],
                codes: &[FlexTensor],
            ) -> Option<Vec<FlexTensor>> {
                match self {
                    $(Self::$name(op) => {
                        let results: Option<[_; $results]> =
                            Operation::<$operands, $codes, $results>::flex(
                                op, counted(operands), counted(codes),
                            );
                        results.map(Into::into)
                    })*
                }
            }

            pub(crate) fn kept(&self) -> Kept {
                match self {
                    $(Self::$name(op) => Operation::<$operands, $codes, $results>::kept(op),)*
                }
            }

            pub(crate) fn vjp(&self, operands: &[&[usize]]) -> Option<Op> {
                match self {
                    $(Self::$name(op) => {
                        let operands = counted(operands.iter().copied());
                        Operation::<$operands, $codes, $results>::vjp(op, operands)
                    })*
                }
            }
        }
    };
}

// Operands of numbers, of codes, and results: a line an operation, and one for its gradient.
operations! {
    Fft(1, 0, 1),
    Rfft(1, 0, 1),
    RfftVjp(1, 0, 1),
    Irfft(1, 0, 1),
    IrfftVjp(1, 0, 1),
    Lct(2, 0, 1),
    LctVjp(2, 0, 2),
    LctFixed(1, 0, 1),
    CausalConvolution(2, 0, 1),
    CausalConvolutionVjp(3, 0, 2),
    SpectralFilter(2, 0, 1),
    SpectralFilterVjp(3, 0, 2),
    ComplexLinear(2, 0, 1),
    ComplexLinearVjp(3, 0, 2),
    PhaseMix(3, 0, 1),
    PhaseMixVjp(4, 0, 3),
    ComplexRmsNorm(2, 0, 1),
    ComplexRmsNormVjp(3, 0, 2),
    ModRelu(2, 0, 1),
    ModReluVjp(3, 0, 2),
    PhaseRotate(2, 0, 1),
    PhaseRotateVjp(3, 0, 2),
    SigmoidGate(2, 0, 1),
    SigmoidGateVjp(3, 0, 2),
    Cardioid(1, 0, 1),
    CardioidVjp(2, 0, 1),
    ToPolar(1, 0, 1),
    ToPolarVjp(2, 0, 1),
    FromPolar(1, 0, 1),
    FromPolarVjp(2, 0, 1),
    ResolventDiagonal(2, 0, 1),
    ResolventDiagonalVjp(3, 0, 2),
    ResolventKept(2, 0, 1),
    ResolventKeptVjp(3, 0, 2),
    LeadingResolvent(2, 0, 1),
    LeadingResolventVjp(3, 0, 2),
    TridiagonalSolve(5, 0, 1),
    TridiagonalSolveVjp(6, 0, 5),
    LogDeterminant(4, 0, 1),
    LogDeterminantVjp(5, 0, 4),
    Attend(3, 0, 2),
    AttendVjp(6, 0, 3),
    Qmatmul(1, 3, 1),
    QmatmulVjp(1, 3, 1),
    QmatmulComplex(1, 6, 1),
    CrossEntropy(1, 1, 1),
    CrossEntropyVjp(2, 1, 1),
    Logistic(1, 0, 1),
    LogisticVjp(2, 0, 1),
    Softplus(1, 0, 1),
    SoftplusVjp(2, 0, 1),
    SquaredRelu(1, 0, 1),
    SquaredReluVjp(2, 0, 1),
    Linear(2, 0, 1),
    LinearVjp(3, 0, 2),
    RmsNorm(2, 0, 1),
    RmsNormVjp(3, 0, 2),
    AdamW(5, 0, 3),
    Turn(3, 0, 1),
    TurnVjp(3, 0, 1),
}

/// A backend that runs operations of the table.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu")),
    Flex: cfg(feature = "flex"),
    Autodiff,
    Fusion: cfg(feature = "fusion")
)]
pub(crate) trait Bridge: Backend {
    #[fusion(meta = deferred)]
    fn run(
        #[extension_type] operands: Numbers<Self>,
        #[extension_type] codes: Codes<Self>,
        op: Op,
    ) -> Outcome<Self>;
}

/// What an operation that fusion defers will give. If it fails then, there is nobody left to hand the error to.
#[cfg(feature = "fusion")]
fn deferred(operands: &NumbersMetadata, _: &CodesMetadata, op: &Op) -> OutcomeMetadata {
    let operands = match operands {
        NumbersMetadata::One(a) => vec![a],
        NumbersMetadata::Two(a, b) => vec![a, b],
        NumbersMetadata::Three(a, b, c) => vec![a, b, c],
        NumbersMetadata::Four(a, b, c, d) => vec![a, b, c, d],
        NumbersMetadata::Five(a, b, c, d, e) => vec![a, b, c, d, e],
        NumbersMetadata::Six(a, b, c, d, e, f) => vec![a, b, c, d, e, f],
    };
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| &operand.shape[..]).collect();
    let dtypes = op.dtypes(operands[0].dtype);
    let spec = |(shape, dtype): (Vec<usize>, DType)| TensorSpec::new(shape.into(), dtype);
    let mut specs = op.shapes(&shapes).into_iter().zip(dtypes).map(spec);
    let results = match [(); 5].map(|()| specs.next()) {
        [Some(a), None, ..] => NumbersMetadata::One(a),
        [Some(a), Some(b), None, ..] => NumbersMetadata::Two(a, b),
        [Some(a), Some(b), Some(c), None, _] => NumbersMetadata::Three(a, b, c),
        [Some(a), Some(b), Some(c), Some(d), None] => NumbersMetadata::Four(a, b, c, d),
        [Some(a), Some(b), Some(c), Some(d), Some(e)] => NumbersMetadata::Five(a, b, c, d, e),
        _ => unreachable!("the table has operations of one to five results"),
    };
    OutcomeMetadata::Results(results)
}

/// Runs an operation on tensors of any device.
///
/// # Errors
///
/// That of a kernel that failed.
pub(crate) fn run<const OPERANDS: usize, const CODES: usize, const RESULTS: usize, O>(
    operation: O,
    operands: [FloatTensor<Dispatch>; OPERANDS],
    codes: [IntTensor<Dispatch>; CODES],
) -> Result<[FloatTensor<Dispatch>; RESULTS]>
where
    O: Operation<OPERANDS, CODES, RESULTS> + Into<Op>,
{
    let (operands, codes) = (Numbers::new(operands), Codes::new(codes));
    Ok(counted(Dispatch::run(operands, codes, operation.into()).into_result()?))
}
