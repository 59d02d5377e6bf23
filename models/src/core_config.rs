//! What the configurations of all models have in common, once.
//!
//! In TOML a model's table is flat: `context` stands beside the model's own keys. Serde can flatten one structure into
//! another, but not where unknown keys are refused, so the fields are laid into each model's structure by
//! `model_config!`, and [`CoreConfig`] is what they are together.

use wavecube_core::{Error, Result};

use crate::flops::Flops;

/// Hands the fields that every model has to the macro `$next`, ahead of the rest.
macro_rules! with_core_fields {
    ([$($next:tt)*] $($rest:tt)*) => {
        $($next)*! {
            [
                /// How many bytes the model sees.
                context: usize = 64,
                /// Channels.
                d_model: usize = 64,
                /// Blocks.
                layers: usize = 2,
                /// Width of the networks, of all experts together where there are some; 0 is the model's usual width
                /// for `d_model`: see [`Configuration::hidden`](crate::core_config::Configuration::hidden).
                mlp_hidden: usize = 0,
                /// Adjust the width of the networks to the number of parameters of the transformer with as many
                /// channels and blocks.
                match_parameters: bool = true,
                /// Normalisation.
                norm: $crate::layers::NormKind = $crate::layers::NormKind::Rms,
            ]
            $($rest)*
        }
    };
}

/// A structure of fields and their defaults.
macro_rules! config_struct {
    (
        [$($(#[$core_doc:meta])* $core:ident: $core_type:ty = $core_default:expr,)*]
        $(#[$doc:meta])* $name:ident {
            $($(#[$own_doc:meta])* $own:ident: $own_type:ty = $own_default:expr,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$core_doc])* pub $core: $core_type,)*
            $($(#[$own_doc])* pub $own: $own_type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($core: $core_default,)* $($own: $own_default,)* }
            }
        }
    };
}

/// The common part of a model's configuration, read and replaced.
macro_rules! core_access {
    ([$($(#[$doc:meta])* $core:ident: $type:ty = $default:expr,)*] $name:ident) => {
        impl $crate::core_config::HasCore for $name {
            fn core(&self) -> $crate::core_config::CoreConfig {
                $crate::core_config::CoreConfig { $($core: self.$core,)* }
            }

            fn with_core(self, core: $crate::core_config::CoreConfig) -> Self {
                Self { $($core: core.$core,)* ..self }
            }
        }
    };
}

/// The configuration of a model: the fields of [`CoreConfig`] and its own, with their defaults.
macro_rules! model_config {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $crate::core_config::with_core_fields! {
            [$crate::core_config::config_struct] $(#[$doc])* $name { $($own)* }
        }
        $crate::core_config::with_core_fields! { [$crate::core_config::core_access] $name }
    };
}

pub(crate) use {config_struct, core_access, model_config, with_core_fields};

with_core_fields! {
    [config_struct]
    /// What the configuration of every model has.
    #[derive(Copy)]
    CoreConfig {}
}

impl CoreConfig {
    /// Checks every size, for the model that `op` names.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for a size that is zero.
    pub(crate) fn validate(&self, op: &'static str) -> Result<()> {
        let sizes = [("context", self.context), ("d_model", self.d_model), ("layers", self.layers)];
        for (argument, found) in sizes {
            if found == 0 {
                return Err(Error::Length { op, argument, expected: "at least 1", found });
            }
        }
        Ok(())
    }

    /// The gain of what blocks add to their input, two sums a block: the variance after all of them is then about
    /// twice that of the embedding, however many blocks there are.
    pub(crate) fn residual_gain(&self) -> f64 {
        1.0 / (2.0 * self.layers as f64).sqrt()
    }
}

/// A configuration with the fields of [`CoreConfig`].
pub trait HasCore {
    /// These fields.
    fn core(&self) -> CoreConfig;

    /// The same configuration with others.
    #[must_use]
    fn with_core(self, core: CoreConfig) -> Self;
}

/// What the configuration of a model says about it.
pub trait Configuration: HasCore + Clone + Default {
    /// Checks every size and combination.
    ///
    /// # Errors
    ///
    /// The first value that is out of range, by its key.
    fn validate(&self) -> Result<()>;

    /// The width of the networks.
    fn hidden(&self) -> usize;

    /// The number of parameters.
    fn parameter_count(&self) -> usize;

    /// This configuration with the width of the networks that brings the number of parameters closest to that of the
    /// transformer with as many channels and blocks, where [`match_parameters`](CoreConfig::match_parameters) asks for
    /// it.
    #[must_use]
    fn matched(&self) -> Self;

    /// The operations of a token, at the full context.
    fn flops(&self) -> Flops;
}
