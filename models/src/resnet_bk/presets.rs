//! Named configurations of ResNet-BK.

use super::{ExitConfig, HaltingConfig, ModelConfig};
use crate::{
    core_config::HasCore as _,
    layers::{ExpertsConfig, Hopping, ResolventForm},
    presets::Named,
};

/// From every switch off to most of them on.
pub(super) const PRESETS: &[Named<ModelConfig>] = &[
    ("bk", |sizes| with(sizes, |_| {})),
    // With products of one beside the diagonal.
    ("bk-fixed", |sizes| with(sizes, |bk| bk.mixer.hopping = Hopping::Fixed)),
    // With the blocked form of the resolvent.
    ("bk-blocked", |sizes| with(sizes, |bk| bk.mixer.form = ResolventForm::Blocked)),
    ("bk-sparse", |sizes| with(sizes, skip_positions)),
    // With the shortcut as gradient.
    ("bk-shortcut", |sizes| with(sizes, |bk| bk.mixer.grad_blend = 1.0)),
    ("bk-experts", |sizes| with(sizes, route)),
    ("bk-dynamic", |sizes| with(sizes, route_by_certainty)),
    ("bk-halting", |sizes| with(sizes, halt)),
    ("bk-scales", |sizes| with(sizes, halve)),
    ("bk-exits", |sizes| with(sizes, leave)),
    ("bk-full", |sizes| {
        with(sizes, |bk| {
            for switch in [route, halt, halve, leave] {
                switch(bk);
            }
        })
    }),
];

/// A model of these sizes whose switches are all off but for what `change` turns on.
fn with(sizes: &ModelConfig, change: impl FnOnce(&mut ModelConfig)) -> ModelConfig {
    let mut bk = ModelConfig::default().with_core(sizes.core());
    change(&mut bk);
    bk
}

/// Blocks of 16, half of whose positions are left out.
fn skip_positions(bk: &mut ModelConfig) {
    bk.mixer.form = ResolventForm::Blocked;
    bk.mixer.block = 16;
    bk.mixer.sparsity.keep = 0.5;
}

/// Four experts, one a token.
fn route(bk: &mut ModelConfig) {
    bk.experts.count = 4;
}

/// Eight experts, one to four a token, by how sure the router is.
fn route_by_certainty(bk: &mut ModelConfig) {
    bk.experts = ExpertsConfig { count: 8, top_k: 4, threshold: 0.5, ..ExpertsConfig::default() };
}

/// Three steps at most.
fn halt(bk: &mut ModelConfig) {
    bk.halting = HaltingConfig { steps: 3, ..HaltingConfig::default() };
}

/// `N, N/2, N/4, N/2, N` positions.
fn halve(bk: &mut ModelConfig) {
    bk.scales = 2;
}

/// Early exits.
fn leave(bk: &mut ModelConfig) {
    bk.exits = ExitConfig { weight: 0.3, ..ExitConfig::default() };
}
