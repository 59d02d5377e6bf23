//! Attention: to be described.

mod append;
mod append_launch;
mod geometry;
mod gradient;
mod gradient_launch;
mod kernel;
mod launch;
mod plan;
mod rotate;
mod tile;
mod tiles;

pub use append_launch::{
    CachePlan, CacheProblem, FreshBindings, Pool, TurnBindings, copy_pages_launch, mean_launch,
    turn_launch, write_launch,
};
pub use gradient_launch::{AttentionGradientBindings, attention_vjp_launch};
pub use launch::{AttentionBindings, attention_launch};
pub use plan::{AttentionPlan, AttentionProblem, GROUP, Mask, Steps, Storage, Strategy};
pub use tiles::TileConfig;
