//! Operands and results of any operation, as Burn's dispatch takes them: enumerations of so many tensors.

use burn::backend::{
    Backend, ExtensionType,
    tensor::{FloatTensor, IntTensor},
};
use wavecube_core::Error;

/// Tensors of numbers.
#[derive(Debug, Clone, ExtensionType)]
#[cfg_attr(feature = "fusion", extension_type(fusion))]
pub(crate) enum Numbers<B: Backend> {
    One(FloatTensor<B>),
    Two(FloatTensor<B>, FloatTensor<B>),
    Three(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
    Four(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
    Five(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
    Six(
        FloatTensor<B>,
        FloatTensor<B>,
        FloatTensor<B>,
        FloatTensor<B>,
        FloatTensor<B>,
        FloatTensor<B>,
    ),
}

impl<B: Backend> Numbers<B> {
    /// One to six tensors.
    pub(crate) fn new(tensors: impl IntoIterator<Item = FloatTensor<B>>) -> Self {
        let mut tensors = tensors.into_iter();
        let all = [(); 6].map(|()| tensors.next());
        match (all, tensors.next()) {
            ([Some(a), None, ..], None) => Self::One(a),
            ([Some(a), Some(b), None, ..], None) => Self::Two(a, b),
            ([Some(a), Some(b), Some(c), None, ..], None) => Self::Three(a, b, c),
            ([Some(a), Some(b), Some(c), Some(d), None, _], None) => Self::Four(a, b, c, d),
            ([Some(a), Some(b), Some(c), Some(d), Some(e), None], None) => {
                Self::Five(a, b, c, d, e)
            }
            ([Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)], None) => {
                Self::Six(a, b, c, d, e, f)
            }
            _ => unreachable!("the table has operations of one to six tensors"),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<FloatTensor<B>> {
        match self {
            Self::One(a) => vec![a],
            Self::Two(a, b) => vec![a, b],
            Self::Three(a, b, c) => vec![a, b, c],
            Self::Four(a, b, c, d) => vec![a, b, c, d],
            Self::Five(a, b, c, d, e) => vec![a, b, c, d, e],
            Self::Six(a, b, c, d, e, f) => vec![a, b, c, d, e, f],
        }
    }
}

/// Tensors of integers of 32 bits.
#[derive(Debug, Clone, ExtensionType)]
#[cfg_attr(feature = "fusion", extension_type(fusion))]
pub(crate) enum Codes<B: Backend> {
    None,
    One(IntTensor<B>),
    Three(IntTensor<B>, IntTensor<B>, IntTensor<B>),
    Six(IntTensor<B>, IntTensor<B>, IntTensor<B>, IntTensor<B>, IntTensor<B>, IntTensor<B>),
}

impl<B: Backend> Codes<B> {
    /// None, one, three or six tensors.
    pub(crate) fn new(tensors: impl IntoIterator<Item = IntTensor<B>>) -> Self {
        let mut tensors = tensors.into_iter();
        match [(); 7].map(|()| tensors.next()) {
            [None, ..] => Self::None,
            [Some(a), None, ..] => Self::One(a),
            [Some(a), Some(b), Some(c), None, ..] => Self::Three(a, b, c),
            [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), None] => {
                Self::Six(a, b, c, d, e, f)
            }
            _ => unreachable!("the table has operations of none, one, three or six tensors"),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<IntTensor<B>> {
        match self {
            Self::None => Vec::new(),
            Self::One(a) => vec![a],
            Self::Three(a, b, c) => vec![a, b, c],
            Self::Six(a, b, c, d, e, f) => vec![a, b, c, d, e, f],
        }
    }
}

/// What came of an operation.
#[derive(Debug, Clone, ExtensionType)]
#[cfg_attr(feature = "fusion", extension_type(fusion))]
pub(crate) enum Outcome<B: Backend> {
    Results(#[extension_type] Numbers<B>),
    Failed(Error),
}

impl<B: Backend> Outcome<B> {
    pub(crate) fn into_result(self) -> wavecube_core::Result<Vec<FloatTensor<B>>> {
        match self {
            Self::Results(results) => Ok(results.into_vec()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl<B: Backend> From<wavecube_core::Result<Vec<FloatTensor<B>>>> for Outcome<B> {
    fn from(result: wavecube_core::Result<Vec<FloatTensor<B>>>) -> Self {
        match result {
            Ok(results) => Self::Results(Numbers::new(results)),
            Err(error) => Self::Failed(error),
        }
    }
}
