//! Complex rows as real ones, and back: a product with a complex weight is two with real ones.

#![allow(clippy::used_underscore_binding, reason = "the macro reads the type's argument")]

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Result};

use super::launch::flat;
use crate::{
    elem_type,
    launch::{buffer, holds},
};

/// Real parts, and behind all of them the imaginary parts.
#[cube(launch_unchecked)]
fn split<F: Float>(
    x: &[Vector<F, Const<2>>],
    parts: &mut [F],
    len: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < len {
        let value = x[ABSOLUTE_POS];
        parts[ABSOLUTE_POS] = value.extract(0usize);
        parts[len + ABSOLUTE_POS] = value.extract(1usize);
    }
}

/// Complex results of the products of parts with the real part of a weight, and with the imaginary part.
#[cube(launch_unchecked)]
fn join<F: Float>(
    by_re: &[F],
    by_im: &[F],
    out: &mut [Vector<F, Const<2>>],
    len: usize,
    conjugate: u32,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < len {
        let i = ABSOLUTE_POS;
        let sign = select(conjugate == 1u32, F::new(-1.0), F::new(1.0));
        let mut value = Vector::<F, Const<2>>::empty();
        value.insert(0usize, by_re[i] - sign * by_im[len + i]);
        value.insert(1usize, by_re[len + i] + sign * by_im[i]);
        out[i] = value;
    }
}

/// Enqueues the parts of `len` complex numbers: the real ones, then the imaginary ones.
///
/// # Errors
/// [`Error::Length`](wavecube_core::Error::Length) if a buffer is too short.
pub fn split_launch(
    client: &Client,
    x: &Handle,
    parts: &Handle,
    len: usize,
    dtype: Dtype,
) -> Result<()> {
    const OP: &str = "split";
    holds(OP, "x", x, (dtype, 2), len)?;
    holds(OP, "parts", parts, (dtype, 1), 2 * len)?;
    let (cubes, dim) = flat(OP, client, len)?;
    // SAFETY: `holds` has compared the buffers with `len`, with which the kernel compares.
    unsafe {
        let (x, parts) = (buffer(x, dtype, 2), buffer(parts, dtype, 1));
        split::launch_unchecked(client, cubes, dim, x, parts, len, elem_type(dtype));
    }
    Ok(())
}

/// The products of the parts of complex rows with the parts of a weight, and where their sums go.
#[derive(Debug, Clone)]
pub struct JoinBindings {
    /// Parts by the weight's real part.
    pub by_re: Handle,
    /// Parts by its imaginary part.
    pub by_im: Handle,
    /// `len` complex numbers.
    pub out: Handle,
}

/// Enqueues the complex results of products of parts: with the weight, or with its conjugate.
///
/// # Errors
/// [`Error::Length`](wavecube_core::Error::Length) if a buffer is too short.
pub fn join_launch(
    client: &Client,
    bindings: &JoinBindings,
    len: usize,
    conjugate: bool,
    dtype: Dtype,
) -> Result<()> {
    const OP: &str = "join";
    let JoinBindings { by_re, by_im, out } = bindings;
    holds(OP, "by_re", by_re, (dtype, 1), 2 * len)?;
    holds(OP, "by_im", by_im, (dtype, 1), 2 * len)?;
    holds(OP, "out", out, (dtype, 2), len)?;
    let (cubes, dim) = flat(OP, client, len)?;
    let conjugate = u32::from(conjugate);
    // SAFETY: `holds` has compared the buffers with `len`, with which the kernel compares.
    unsafe {
        let (by_re, by_im) = (buffer(by_re, dtype, 1), buffer(by_im, dtype, 1));
        let out = buffer(out, dtype, 2);
        join::launch_unchecked(
            client,
            cubes,
            dim,
            by_re,
            by_im,
            out,
            len,
            conjugate,
            elem_type(dtype),
        );
    }
    Ok(())
}
