//! What the `wavecube` program does beside parsing its command line: comparing, timing, demonstrating, and showing that
//! a run is under way. Models, training and generation are in [`wavecube_models`].
//!
//! | module | what it is |
//! |---|---|
//! | [`ablate`] | the same run for every combination of a few choices, or for named models |
//! | [`demo`] | text that is at hand, a model trained on it, a sample, and a report |
//! | [`display`] | a progress bar or lines |
//! | [`speed`] | how long mixers, models, training and generation take |

pub mod ablate;
pub mod demo;
pub mod display;
pub mod speed;
