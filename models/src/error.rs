//! What can go wrong around a model: files, configurations, texts, checkpoints, training.

use std::{error::Error as StdError, fmt, io, ops::Range, path::PathBuf};

use rayon::ThreadPoolBuildError;
use safetensors::SafeTensorError;
use wavecube_core::DeviceFault;

use crate::generate::Failure;

/// The result of what reads, trains, generates or writes. Models and layers return [`wavecube_core::Result`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What was wrong, what was expected, and what to do about it. `{}` shows the error alone and `{:#}` its causes too.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An operation, a layer or a model rejected its arguments, or the device failed.
    Operation(wavecube_core::Error),
    /// Something went wrong in the course of something else.
    Within {
        /// In the course of what.
        context: String,
        /// What went wrong.
        cause: Box<Error>,
    },
    /// The operating system refused to read or write.
    Io {
        /// What was attempted, and what to do instead.
        attempt: String,
        /// Its reason.
        cause: io::Error,
    },
    /// The text of a configuration is not TOML, or names a key or value that there is not.
    Toml(Box<toml::de::Error>),
    /// A configuration has a value that TOML has no form for.
    ToToml(toml::ser::Error),
    /// JSON that is not what it should be.
    Json(serde_json::Error),
    /// A file that is not safetensors.
    Safetensors(SafeTensorError),
    /// A value is out of range.
    Value {
        /// The key or the name of what is wrong.
        name: &'static str,
        /// Which values are accepted.
        expected: &'static str,
        /// The value that came.
        found: String,
    },
    /// A text cannot be used.
    Text(TextFault),
    /// A checkpoint cannot be used for what was asked.
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: CheckpointFault,
    },
    /// A weight is not one that the model can have.
    Weight {
        /// Its name.
        name: String,
        /// What is wrong with it.
        fault: WeightFault,
    },
    /// Training came to a number that is not finite.
    Diverged {
        /// Which number.
        quantity: &'static str,
        /// The number.
        value: f64,
        /// The optimiser step, from 1.
        step: usize,
    },
    /// The loss on a part of a text is not finite.
    Evaluation {
        /// The loss.
        loss: f64,
        /// The bytes of the text.
        bytes: Range<usize>,
    },
    /// There is no such device.
    Device {
        /// What is missing.
        missing: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// The threads to compute on cannot be started.
    Threads(ThreadPoolBuildError),
    /// A text could not be continued.
    Generation(Failure),
}

/// Why a text cannot be used.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TextFault {
    /// No text is named.
    Missing,
    /// There are no bytes in these files and directories.
    Empty(Vec<PathBuf>),
    /// There are too few bytes to train on and hold out a share of.
    Short {
        /// How many there are.
        len: usize,
        /// The share that is held out.
        validation: f64,
    },
    /// A part is not longer than a model's context.
    Context {
        /// Which part.
        part: &'static str,
        /// How many bytes it has.
        len: usize,
        /// The context.
        context: usize,
    },
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointFault {
    /// It is no safetensors file, or one that was damaged.
    Damaged {
        /// How many bytes it has.
        len: usize,
        /// What is wrong with them.
        report: SafeTensorError,
    },
    /// Its header has this key more than once.
    Repeated(String),
    /// Its metadata lacks this key.
    Foreign(&'static str),
    /// Its layout has another version.
    Format {
        /// The version that it has.
        found: String,
        /// The version that is read.
        expected: &'static str,
    },
    /// It is of a run with another configuration.
    Configuration {
        /// The first key that differs.
        key: String,
        /// The value in the checkpoint.
        found: String,
        /// The value that was asked for.
        wanted: String,
    },
    /// It is quantised and was to be again.
    Quantized,
    /// It is quantised, and training was to go on from it.
    Untrainable,
}

/// Why a weight cannot be used.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum WeightFault {
    /// There is none.
    Missing,
    /// It is not of `f32` numbers but of these.
    Dtype(String),
    /// It has another shape than the model needs.
    Shape {
        /// The shape that it has.
        found: Vec<usize>,
        /// The shape that is needed.
        expected: Vec<usize>,
    },
    /// It has a number that is not finite.
    NotFinite {
        /// The number.
        value: f32,
        /// Its index.
        index: Vec<usize>,
        /// The shape of the weight.
        shape: Vec<usize>,
    },
}

impl Error {
    /// Of a weight.
    pub(crate) fn weight(name: &str, fault: WeightFault) -> Self {
        Self::Weight { name: name.to_owned(), fault }
    }

    /// A device that failed in the course of `op`, by its report.
    pub(crate) fn failed<E: fmt::Display>(op: &'static str) -> impl Fn(E) -> Self {
        move |report| {
            let reason = DeviceFault::Failed(report.to_string());
            Self::Operation(wavecube_core::Error::Device { op, reason })
        }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(error) => write!(f, "{error}"),
            Self::Within { context, .. } => f.write_str(context),
            Self::Io { attempt, .. } => f.write_str(attempt),
            Self::Toml(error) => write!(f, "{error}"),
            Self::ToToml(error) => write!(f, "{error}"),
            Self::Json(error) => write!(f, "{error}"),
            Self::Safetensors(error) => write!(f, "{error}"),
            Self::Value { name, expected, found } => {
                write!(f, "{name} must be {expected}, it is {found}")
            }
            Self::Text(fault) => write!(f, "{fault}"),
            Self::Checkpoint { path, fault } => fault.describe(&path.display(), f),
            Self::Weight { name, fault } => write!(f, "`{name}` {fault}"),
            Self::Diverged { quantity, value, step } => write!(
                f,
                "the {quantity} is {value} at step {step}: take a smaller train.learning_rate or a longer \
                 train.warmup"
            ),
            Self::Evaluation { loss, bytes } => write!(
                f,
                "the loss on the text is {loss}, between its bytes {} and {}",
                bytes.start, bytes.end
            ),
            Self::Device { missing, advice } => write!(f, "{missing}; {advice}"),
            Self::Threads(_) => f.write_str("cannot start the threads to compute on"),
            Self::Generation(failure) => write!(f, "{failure}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f)?;
        let mut cause = self.source().filter(|_| f.alternate());
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Within { cause, .. } => Some(cause.as_ref()),
            Self::Io { cause, .. } => Some(cause),
            Self::Threads(cause) => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "no text to train on: name a file or directory with --text or data.text",
            ),
            Self::Empty(paths) => {
                write!(f, "the text is empty: no bytes in {}", listed(paths))
            }
            Self::Short { len, validation } if *validation == 0.0 => {
                write!(f, "{len} bytes are too few to train on: at least two are needed")
            }
            Self::Short { len, validation } => write!(
                f,
                "{len} bytes are too few to train on and hold out {validation}: at least two bytes are \
                 needed on each side"
            ),
            Self::Context { part, len, context } => write!(
                f,
                "the {part} text has {len} bytes, which is not more than the model's context of \
                 {context}: take a longer text or a shorter context"
            ),
        }
    }
}

/// Paths, one after the other.
pub(crate) fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

impl CheckpointFault {
    fn describe(&self, path: &dyn fmt::Display, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { len, report } => write!(
                f,
                "{path} is not a checkpoint, or one that was cut short or damaged ({len} bytes: \
                 {report}); take an earlier one or train again"
            ),
            Self::Repeated(key) => write!(
                f,
                "{path} is not a checkpoint, or a damaged one: its header repeats the key `{key}`"
            ),
            Self::Foreign(key) => write!(
                f,
                "{path} is a safetensors file without `{key}`: not a checkpoint of wavecube"
            ),
            Self::Format { found, expected } => {
                write!(f, "the checkpoint {path} has format {found}, this program reads {expected}")
            }
            Self::Configuration { key, found, wanted } => write!(
                f,
                "the checkpoint {path} is of another configuration: it has {key} = {found}, this run \
                 asks for {wanted}; resume with the checkpoint's own configuration or start anew"
            ),
            Self::Quantized => write!(f, "the checkpoint {path} is quantised already"),
            Self::Untrainable => write!(
                f,
                "the checkpoint {path} is quantised: it generates, and training goes on from the one \
                 that it was made of"
            ),
        }
    }
}

impl fmt::Display for WeightFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Dtype(found) => write!(f, "is {found}, expected F32"),
            Self::Shape { found, expected } => {
                write!(f, "has shape {found:?}, the model needs {expected:?}")
            }
            Self::NotFinite { value, index, shape } => write!(
                f,
                "is {value} at index {index:?} of shape {shape:?}: take an earlier checkpoint or train \
                 again, with a smaller train.learning_rate if that is where it came from"
            ),
        }
    }
}

impl From<wavecube_core::Error> for Error {
    fn from(error: wavecube_core::Error) -> Self {
        Self::Operation(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<SafeTensorError> for Error {
    fn from(error: SafeTensorError) -> Self {
        Self::Safetensors(error)
    }
}

impl From<TextFault> for Error {
    fn from(fault: TextFault) -> Self {
        Self::Text(fault)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Generation(failure)
    }
}

/// Results that say in the course of what they failed.
pub(crate) trait Context<T> {
    /// With this context where it failed.
    fn within(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn within(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Within { context: context(), cause: Box::new(error.into()) })
    }
}

/// Results of the operating system that say what was attempted.
pub(crate) trait Attempt<T> {
    /// As an error of this attempt where it failed.
    fn attempting(self, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempting(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::Io { attempt: attempt(), cause })
    }
}
