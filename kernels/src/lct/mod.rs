//! Linear canonical transforms.
mod kernel;
mod launch;
mod lines;
mod plan;
mod program;

pub use launch::{
    DenseBindings, LctBindings, Moment, Resident, combine_launch, correlate_launch, dense_launch,
    lct_launch, moments_launch, pointwise_launch, upload_complex, upload_real,
};
pub use lines::{DenseConfig, LinesOf, MomentConfig, PointConfig};
pub use plan::{
    CombinePlan, CorrelationPlan, DensePlan, DenseProblem, LctPlan, LctProblem, MomentPlan,
    PointPlan, Step,
};
pub use program::{
    Factor, Program, Stage, adjoint, centred_dft, scaled_factors, shear_factors,
    shear_spectrum_factors, weil_factors,
};
