//! What can go wrong before anything is enqueued.

use core::fmt;

use crate::Dtype;

/// The result of every fallible function of wavecube.
pub type Result<T> = core::result::Result<T, Error>;

/// A rejected call: which operation, which argument, what was expected and what came.
///
/// Every variant is returned *before* any device work is enqueued, so a call that fails leaves its
/// outputs untouched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The shape of an argument is not the one the operation needs.
    Shape {
        /// The operation that was called.
        op: &'static str,
        /// The argument that is wrong.
        argument: &'static str,
        /// The shape that would have been accepted.
        expected: Vec<usize>,
        /// The shape that came.
        found: Vec<usize>,
    },
    /// The strides of an argument reach outside its buffer, or write one place twice.
    Strides {
        /// The operation that was called.
        op: &'static str,
        /// The argument that is wrong.
        argument: &'static str,
        /// What the strides have to satisfy.
        expected: &'static str,
        /// The strides that came.
        found: Vec<usize>,
    },
    /// The axis does not exist.
    Axis {
        /// The operation that was called.
        op: &'static str,
        /// The number of axes of the argument; axes run from `-rank` to `rank - 1`.
        rank: usize,
        /// The axis that came.
        found: isize,
    },
    /// The length of an axis or buffer is not supported.
    Length {
        /// The operation that was called.
        op: &'static str,
        /// The argument that is wrong.
        argument: &'static str,
        /// Which lengths are accepted.
        expected: &'static str,
        /// The length that came.
        found: usize,
    },
    /// The element type is not the one expected, or the device lacks it.
    Dtype {
        /// The operation that was called.
        op: &'static str,
        /// The argument that is wrong.
        argument: &'static str,
        /// Which element types are accepted.
        expected: &'static str,
        /// The element type that came.
        found: Dtype,
    },
    /// The output shares memory with an input that the operation still reads.
    Overlap {
        /// The operation that was called.
        op: &'static str,
        /// The first of the two arguments.
        first: &'static str,
        /// The second of the two arguments.
        second: &'static str,
    },
    /// A parameter has a value for which the operation is not defined.
    Value {
        /// The operation that was called.
        op: &'static str,
        /// The argument that is wrong.
        argument: &'static str,
        /// Which values are accepted.
        expected: &'static str,
        /// The value that came.
        found: f64,
    },
    /// The combination of arguments is well formed but has no implementation, for the reason given.
    Unsupported {
        /// The operation that was called.
        op: &'static str,
        /// The argument that asks for it.
        argument: &'static str,
        /// Why, and what to use instead.
        reason: &'static str,
    },
    /// The device cannot do it: a size exceeds what it offers.
    Limit {
        /// The operation that was called.
        op: &'static str,
        /// The resource of the device.
        resource: &'static str,
        /// How much of it there is.
        available: u64,
        /// How much the call needs.
        required: u64,
    },
    /// A file cannot be read or written, or holds something else.
    File {
        /// The operation that was called.
        op: &'static str,
        /// What is wrong with it.
        fault: FileFault,
    },
    /// There is no such device, or it was lost.
    Device {
        /// The operation that was called.
        op: &'static str,
        /// What is wrong, and what to do about it.
        reason: DeviceFault,
    },
}

/// Why a file could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFault {
    /// The operating system refused.
    Io(std::io::ErrorKind),
    /// It does not hold what it should: this.
    Foreign(&'static str),
    /// Its header has this key more than once, so that readers would differ about what it means.
    Repeated(String),
}

/// Why a device could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFault {
    /// The program was built without the runtime; the feature that links it is named.
    NotLinked(&'static str),
    /// The runtime is linked, but the machine has no such device.
    NotFound(&'static str),
    /// Two arguments live on different devices.
    Mixed,
    /// The process is a fork of the one that opened the device, without the threads that talk to it.
    Forked,
    /// A kernel or a transfer failed on the device; the runtime's own report follows.
    Failed(String),
}

impl Error {
    /// The error as the call of `op` reports it. An operation that is made of others knows its arguments by other
    /// names than they do: each pair of `arguments` is theirs and its own.
    ///
    /// ```
    /// use wavecube_core::Error;
    /// let error = Error::Axis { op: "fft", rank: 2, found: 5 };
    /// let error = error.of_call("irfft", &[("input", "x")]);
    /// assert!(error.to_string().starts_with("irfft: axis 5"));
    /// ```
    #[must_use]
    pub fn of_call(
        mut self,
        called: &'static str,
        arguments: &[(&'static str, &'static str)],
    ) -> Self {
        let (op, named) = match &mut self {
            Self::Shape { op, argument, .. }
            | Self::Strides { op, argument, .. }
            | Self::Length { op, argument, .. }
            | Self::Dtype { op, argument, .. }
            | Self::Value { op, argument, .. }
            | Self::Unsupported { op, argument, .. } => (op, vec![argument]),
            Self::Overlap { op, first, second } => (op, vec![first, second]),
            Self::Axis { op, .. }
            | Self::Limit { op, .. }
            | Self::File { op, .. }
            | Self::Device { op, .. } => (op, Vec::new()),
        };
        *op = called;
        for argument in named {
            if let Some((_, own)) = arguments.iter().find(|(theirs, _)| theirs == argument) {
                *argument = own;
            }
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { op, argument, expected, found } => {
                write!(f, "{op}: `{argument}` must have shape {expected:?}, it has {found:?}")
            }
            Self::Strides { op, argument, expected, found } => {
                write!(f, "{op}: the strides of `{argument}` must {expected}, they are {found:?}")
            }
            Self::Axis { op, rank: 0, found } => {
                write!(
                    f,
                    "{op}: axis {found} of a tensor that has no axes; give it one with `reshape(&[1])`"
                )
            }
            Self::Axis { op, rank, found } => write!(
                f,
                "{op}: axis {found} of a tensor with {rank} axes; axes run from -{rank} to {}",
                rank - 1
            ),
            Self::Length { op, argument, expected, found } => {
                write!(f, "{op}: the length of `{argument}` must be {expected}, it is {found}")
            }
            Self::Dtype { op, argument, expected, found } => {
                write!(
                    f,
                    "{op}: the element type of `{argument}` must be {expected}, it is {found}"
                )
            }
            Self::Overlap { op, first, second } => write!(
                f,
                "{op}: `{first}` and `{second}` share memory; pass the same tensor for an in-place \
                 transform, or separate buffers"
            ),
            Self::Value { op, argument, expected, found } => {
                write!(f, "{op}: `{argument}` must be {expected}, it is {found}")
            }
            Self::Unsupported { op, argument, reason } => {
                write!(f, "{op}: `{argument}` is not supported here: {reason}")
            }
            Self::Limit { op, resource, available, required } => {
                write!(f, "{op}: needs {required} of the device's {resource}, it has {available}")
            }
            Self::File { op, fault: FileFault::Io(kind) } => write!(f, "{op}: {kind}"),
            Self::File { op, fault: FileFault::Foreign(expected) } => {
                write!(f, "{op}: the file must hold {expected}, it does not")
            }
            Self::File { op, fault: FileFault::Repeated(key) } => {
                write!(
                    f,
                    "{op}: the header of the file must have every key once, it repeats `{key}`"
                )
            }
            Self::Device { op, reason } => write!(f, "{op}: {reason}"),
        }
    }
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLinked(feature) => write!(
                f,
                "this build does not link the runtime; turn on the `{feature}` feature of wavecube"
            ),
            Self::NotFound(what) => write!(
                f,
                "the machine has no {what}; `cargo xtask setup` in wavecube's tree installs a software \
                 Vulkan driver, on Debian and Ubuntu `apt-get install mesa-vulkan-drivers` does"
            ),
            Self::Mixed => {
                write!(f, "the arguments live on different devices; read one and upload it")
            }
            Self::Forked => {
                write!(
                    f,
                    "the process has forked since a device was opened; open devices after the fork"
                )
            }
            Self::Failed(report) => write!(f, "the device reported: {report}"),
        }
    }
}

impl core::error::Error for Error {}
