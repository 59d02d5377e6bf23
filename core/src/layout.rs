//! Where the elements of a tensor lie in its buffer.

use crate::{Error, Result};

/// Shape, strides and offset of a tensor, counted in its elements: a complex element counts one.
///
/// ```
/// use wavecube_core::Layout;
/// let x = Layout::contiguous(&[2, 3, 4]);
/// assert_eq!(x.strides(), [12, 4, 1]);
/// let columns = x.permuted(&[0, 2, 1]);
/// assert_eq!(columns.shape(), [2, 4, 3]);
/// assert!(!columns.is_contiguous());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
}

impl Layout {
    /// The row-major layout of `shape`: the last axis is adjacent in memory.
    pub fn contiguous(shape: &[usize]) -> Self {
        let mut strides = vec![1_usize; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i].saturating_mul(shape[i].max(1));
        }
        Self { shape: shape.to_vec(), strides, offset: 0 }
    }

    /// A layout of any strides, in elements, beginning `offset` elements into the buffer.
    ///
    /// # Errors
    /// [`Error::Strides`] if there is not one stride an axis.
    pub fn strided(shape: &[usize], strides: &[usize], offset: usize) -> Result<Self> {
        if shape.len() != strides.len() {
            return Err(Error::Strides {
                op: "Layout::strided",
                argument: "strides",
                expected: "be one per axis",
                found: strides.to_vec(),
            });
        }
        Ok(Self { shape: shape.to_vec(), strides: strides.to_vec(), offset })
    }

    /// The axes' lengths.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The distance between neighbours along each axis, in elements.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// The place of the first element, in elements from the start of the buffer.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements, or `None` if it exceeds `usize`.
    pub fn checked_len(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        self.shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n))
    }

    /// The number of elements, saturating at `usize::MAX`.
    pub fn len(&self) -> usize {
        self.checked_len().unwrap_or(usize::MAX)
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// One past the last place that an element occupies, or `None` if it exceeds `usize`.
    pub fn end(&self) -> Option<usize> {
        if self.is_empty() {
            return Some(self.offset);
        }
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |end, (&n, &s)| end.checked_add((n - 1).checked_mul(s)?))?;
        last.checked_add(1)
    }

    /// Whether the elements lie in row-major order without gaps. Axes of length 1 do not matter.
    pub fn is_contiguous(&self) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut expected = 1_usize;
        for (&n, &s) in self.shape.iter().zip(&self.strides).rev() {
            if n == 1 {
                continue;
            }
            if s != expected {
                return false;
            }
            expected = expected.saturating_mul(n);
        }
        true
    }

    /// Whether no two indices name the same place, as an output must satisfy. Decided by nesting:
    /// sorted by stride, every axis must step over the whole extent of the axes below it. Exotic
    /// interleavings that are injective without nesting are refused.
    pub fn is_injective(&self) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut axes: Vec<(usize, usize)> = self
            .strides
            .iter()
            .zip(&self.shape)
            .filter(|&(_, &n)| n > 1)
            .map(|(&s, &n)| (s, n))
            .collect();
        axes.sort_unstable();
        let mut extent = 0usize;
        for (stride, n) in axes {
            if stride <= extent {
                return false;
            }
            extent = extent.saturating_add(stride.saturating_mul(n - 1));
        }
        true
    }

    /// The same elements with the axes in another order.
    ///
    /// `order` must hold every axis once; a wrong order gives a layout of the axes it names.
    #[must_use]
    pub fn permuted(&self, order: &[usize]) -> Self {
        let pick = |v: &[usize]| order.iter().filter_map(|&i| v.get(i).copied()).collect();
        Self { shape: pick(&self.shape), strides: pick(&self.strides), offset: self.offset }
    }

    /// The same elements in row-major order under another shape.
    ///
    /// # Errors
    /// [`Error::Length`] if the shape has another number of elements, [`Error::Strides`] if it joins axes that do not
    /// follow on each other in memory.
    ///
    /// ```
    /// use wavecube_core::Layout;
    /// let columns = Layout::strided(&[4, 6], &[1, 4], 3)?;
    /// let split = columns.reshaped("example", &[2, 2, 6, 1])?;
    /// assert_eq!(split.strides(), [2, 1, 4, 1]);
    /// assert!(columns.reshaped("example", &[24]).is_err());
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn reshaped(&self, op: &'static str, shape: &[usize]) -> Result<Self> {
        let wanted = Self::contiguous(shape);
        if wanted.checked_len().is_none() || wanted.checked_len() != self.checked_len() {
            return Err(Error::Length {
                op,
                argument: "shape",
                expected: "as many elements as the tensor has",
                found: wanted.len(),
            });
        }
        if self.is_empty() {
            return Ok(Self { offset: self.offset, ..wanted });
        }
        // Axes that follow on each other are one run of places in even steps.
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (&n, &stride) in self.shape.iter().zip(&self.strides).filter(|&(&n, _)| n > 1) {
            match runs.last_mut() {
                Some((len, step)) if stride.checked_mul(n) == Some(*step) => {
                    (*len, *step) = (*len * n, stride);
                }
                _ => runs.push((n, stride)),
            }
        }
        // The last axis first, each takes its part of the run that is left.
        let mut strides = wanted.strides;
        let mut rest = runs.pop();
        for (stride, &n) in strides.iter_mut().zip(shape).rev().filter(|&(_, &n)| n > 1) {
            let Some((len, step)) = rest.filter(|&(len, _)| len.is_multiple_of(n)) else {
                return Err(Error::Strides {
                    op,
                    argument: "self",
                    expected: "follow on each other where axes are joined",
                    found: self.strides.clone(),
                });
            };
            *stride = step;
            rest = if len == n { runs.pop() } else { Some((len / n, step.saturating_mul(n))) };
        }
        Ok(Self { shape: shape.to_vec(), strides, offset: self.offset })
    }

    /// The axis that `axis` names, counting from the end if it is negative.
    ///
    /// # Errors
    /// [`Error::Axis`] if there is no such axis.
    pub fn axis(&self, op: &'static str, axis: isize) -> Result<usize> {
        let rank = self.rank();
        let index = if axis < 0 { axis.checked_add_unsigned(rank) } else { Some(axis) };
        match index {
            Some(i) if i >= 0 && (i as usize) < rank => Ok(i as usize),
            _ => Err(Error::Axis { op, rank, found: axis }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extent_of_views() {
        let x = Layout::strided(&[3, 2], &[10, 4], 7).unwrap();
        assert_eq!(x.end(), Some(7 + 20 + 4 + 1));
        assert_eq!(Layout::strided(&[3, 0], &[10, 4], 7).unwrap().end(), Some(7));
        assert_eq!(Layout::strided(&[usize::MAX, 2], &[2, 1], 0).unwrap().end(), None);
        assert_eq!(Layout::contiguous(&[usize::MAX, 2]).checked_len(), None);
        assert_eq!(Layout::contiguous(&[]).len(), 1);
    }

    #[test]
    fn reshaped_layouts_name_the_same_places() {
        let places = |x: &Layout| -> Vec<usize> {
            let strides = Layout::contiguous(x.shape());
            (0..x.len())
                .map(|e| {
                    let of = |(axis, &n): (usize, &usize)| e / strides.strides()[axis] % n;
                    let index = x.shape().iter().enumerate().map(of);
                    x.offset() + index.zip(x.strides()).map(|(i, s)| i * s).sum::<usize>()
                })
                .collect()
        };
        let whole = Layout::contiguous(&[2, 3, 4]);
        let view = Layout::strided(&[4, 3, 2], &[6, 2, 1], 5).unwrap();
        let apart = Layout::strided(&[2, 3, 4], &[24, 8, 2], 1).unwrap();
        let repeated = Layout::strided(&[6, 4], &[0, 1], 0).unwrap();
        for x in [&whole, &view, &apart, &repeated] {
            for shape in [&[24][..], &[4, 6], &[6, 4], &[2, 3, 2, 2], &[1, 24, 1], &[3, 2, 4]] {
                match x.reshaped("test", shape) {
                    Ok(y) => assert_eq!(places(x), places(&y), "{x:?} {shape:?}"),
                    Err(error) => assert!(matches!(error, Error::Strides { .. }), "{error:?}"),
                }
            }
            assert!(matches!(x.reshaped("test", &[23]), Err(Error::Length { .. })));
            assert!(matches!(x.reshaped("test", &[usize::MAX, 2]), Err(Error::Length { .. })));
        }
        for shape in [&[24][..], &[4, 6], &[6, 4], &[2, 3, 2, 2], &[1, 24, 1]] {
            assert!(whole.reshaped("test", shape).is_ok());
            assert!(apart.reshaped("test", shape).is_ok());
        }
        assert!(repeated.reshaped("test", &[2, 3, 2, 2]).is_ok());
        assert!(repeated.reshaped("test", &[24]).is_err());
        assert_eq!(Layout::contiguous(&[]).reshaped("test", &[1]).unwrap().shape(), [1]);
        assert_eq!(Layout::contiguous(&[1, 1]).reshaped("test", &[]).unwrap().shape(), [0; 0]);
        let empty = Layout::contiguous(&[0, 7]);
        assert_eq!(empty.reshaped("test", &[3, 0]).unwrap().shape(), [3, 0]);
    }

    #[test]
    fn injective_layouts() {
        assert!(Layout::contiguous(&[4, 5]).is_injective());
        assert!(Layout::contiguous(&[4, 5]).permuted(&[1, 0]).is_injective());
        assert!(!Layout::strided(&[4, 5], &[0, 1], 0).unwrap().is_injective());
        assert!(!Layout::strided(&[4, 5], &[4, 1], 0).unwrap().is_injective());
        assert!(Layout::strided(&[1, 5], &[0, 1], 0).unwrap().is_injective());
    }

    #[test]
    fn axes_from_both_ends() {
        let x = Layout::contiguous(&[2, 3]);
        assert_eq!(x.axis("fft", -1), Ok(1));
        assert_eq!(x.axis("fft", 1), Ok(1));
        assert!(x.axis("fft", 2).is_err());
        assert!(x.axis("fft", -3).is_err());
        assert!(x.axis("fft", isize::MIN).is_err());
    }
}
