//! Attention: to be described.

mod geometry;
mod gradient;
mod gradient_launch;
mod kernel;
mod launch;
mod plan;
mod rotate;
mod tile;
mod tiles;

pub use gradient_launch::{AttentionGradientBindings, attention_vjp_launch};
pub use launch::{AttentionBindings, attention_launch};
pub use plan::{AttentionPlan, AttentionProblem, GROUP, Mask, Steps, Storage, Strategy};
pub use tiles::TileConfig;
