//! What every launch does with the caller's buffers.

use cubecl::{prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Result};

/// How many elements of `parts` numbers a buffer holds.
fn elements(handle: &Handle, dtype: Dtype, parts: usize) -> usize {
    handle.size_in_used() as usize / (parts * dtype.size())
}

/// Refuses a buffer that holds fewer than `end` elements of `parts` numbers.
pub(crate) fn holds(
    op: &'static str,
    argument: &'static str,
    handle: &Handle,
    (dtype, parts): (Dtype, usize),
    end: usize,
) -> Result<()> {
    let found = elements(handle, dtype, parts);
    if found >= end {
        return Ok(());
    }
    let expected = "a buffer that holds every element of the layout";
    Err(Error::Length { op, argument, expected, found })
}

/// The buffer of elements of `parts` numbers each.
pub(crate) fn buffer(handle: &Handle, dtype: Dtype, parts: usize) -> BufferArg {
    // SAFETY: the length is the buffer's own.
    unsafe { BufferArg::from_raw_parts(handle.clone(), elements(handle, dtype, parts)) }
}

/// The buffer that is the kernel's first argument, once more.
pub(crate) fn alias_of_first(handle: &Handle, dtype: Dtype, parts: usize) -> BufferArg {
    BufferArg::alias(0, elements(handle, dtype, parts))
}

pub(crate) fn sequence(values: impl Iterator<Item = usize>) -> SequenceArg<usize> {
    let mut sequence = SequenceArg::new();
    for value in values {
        sequence.push(value);
    }
    sequence
}

pub(crate) fn count([x, y, z]: [usize; 3]) -> CubeCount {
    CubeCount::Static(x as u32, y as u32, z as u32)
}
