//! What is refused is told in the words of the call: the operation's name, and its arguments'.

use wavecube::{
    Complex32, Direction, Dtype, Error, Normalization, Result, Tensor, fft_in_place, fft_into,
    fftn, fftn_vjp, irfft,
};
use wavecube_testing::{Rng, devices, nan_filled};

use super::{Transform, canonical, convolutions, dense, fourier};

/// The argument that an error names.
fn argument(error: &Error) -> Option<&'static str> {
    match *error {
        Error::Shape { argument, .. }
        | Error::Strides { argument, .. }
        | Error::Length { argument, .. }
        | Error::Dtype { argument, .. }
        | Error::Value { argument, .. }
        | Error::Unsupported { argument, .. } => Some(argument),
        _ => None,
    }
}

fn assert_named(op: &str, arguments: &[&str], result: Result<Tensor>) {
    let error = result.expect_err(op);
    let message = error.to_string();
    assert!(message.starts_with(&format!("{op}: ")), "{op} said {message}");
    if let Some(argument) = argument(&error) {
        assert!(arguments.contains(&argument), "{op} said {message}");
    }
}

#[test]
fn every_error_names_the_operation_that_was_called_and_its_arguments() {
    let device = &devices()[0];
    let n = 12;
    let mut all = fourier(n);
    all.extend(convolutions(device, &mut Rng::fresh(), Dtype::F32, n).unwrap());
    all.extend(canonical(n));
    all.extend(dense(n));
    let empty = |complex, shape: &[usize]| nan_filled(device, Dtype::F32, complex, shape).unwrap();
    for Transform { op, operand, len, complex, call, .. } in &all {
        // The operand of a convolution, and the filter that is to have its type.
        let arguments = match *op {
            "causal_convolution" | "causal_convolution_vjp" => vec![*operand, "h"],
            "spectral_filter" | "spectral_filter_vjp" => vec![*operand, "filters"],
            // The matrix says how long lines are, and so does `n`.
            "lct_weil" | "lct_weil_vjp" => vec![*operand, "m"],
            "irfft" | "rfft_vjp" => vec![*operand, "n"],
            _ => vec![*operand],
        };
        let x = empty(*complex, &[2, *len]);
        assert_named(op, &arguments, call(&empty(!complex, &[2, *len]), 1));
        assert_named(op, &arguments, call(&x, 2));
        assert_named(op, &arguments, call(&x, -3));
        assert_named(op, &arguments, call(&empty(*complex, &[2, 0]), 1));
        assert_named(op, &arguments, call(&empty(*complex, &[]), 0));
        // One element that strides of zero repeat: a line of any length.
        let long = wavecube::Layout::strided(&[1 << 40], &[0], 0).unwrap();
        let handle = x.handle().clone();
        let long = Tensor::from_handle(device, handle, Dtype::F32, *complex, long).unwrap();
        assert_named(op, &arguments, call(&long, 0));
    }
}

#[test]
fn transforms_of_several_shapes_name_their_own_arguments() {
    let device = &devices()[0];
    let norm = Normalization::Backward;
    let x = Tensor::from_slice(device, &[Complex32::ONE; 24], &[4, 6]).unwrap();
    let short = Tensor::from_slice(device, &[Complex32::ONE; 20], &[4, 5]).unwrap();
    let real = Tensor::from_slice(device, &[1f32; 24], &[4, 6]).unwrap();
    let none = Tensor::from_slice::<Complex32>(device, &[], &[4, 0]).unwrap();
    let forward = Direction::Forward;
    let into = |x: &Tensor, y: &Tensor| {
        let mut y = y.clone();
        fft_into(x, &mut y, 1, forward, norm).map(|()| y)
    };
    let in_place = |x: &Tensor| {
        let mut y = x.clone();
        fft_in_place(&mut y, 1, forward, norm).map(|()| y)
    };
    assert_named("irfft", &["n"], irfft(&x, 0, 1, norm));
    assert_named("irfft", &["x"], irfft(&x, 6, 1, norm));
    assert_named("rfft_vjp", &["n"], wavecube::rfft_vjp(&x, 0, 1, norm));
    assert_named("rfft_vjp", &["g"], wavecube::rfft_vjp(&x, 6, 1, norm));
    assert_named("fft_into", &["output"], into(&x, &short));
    assert_named("fft_into", &["output"], into(&x, &real));
    assert_named("fft_into", &["x"], into(&real, &x));
    assert_named("fft_into", &["x"], into(&none, &none));
    assert_named(
        "fft_into",
        &[],
        into(&x.narrowed(1, 0, 5).unwrap(), &x.narrowed(1, 1, 5).unwrap()),
    );
    assert_named("fft_in_place", &["x"], in_place(&real));
    assert_named("fft_in_place", &["x"], in_place(&none));
    let folded = wavecube::Layout::strided(&[4, 6], &[0, 1], 0).unwrap();
    let handle = x.handle().clone();
    let folded = Tensor::from_handle(device, handle, Dtype::F32, true, folded).unwrap();
    assert_named("fft_in_place", &["x"], in_place(&folded));
    assert_named("fftn", &["axes"], fftn(&x, &[0, -2], forward, norm));
    assert_named("fftn", &["x"], fftn(&none, &[0, 1], forward, norm));
    assert_named("fftn", &["x"], fftn(&real, &[0], forward, norm));
    assert_named("fftn_vjp", &["g"], fftn_vjp(&real, &[0], forward, norm));
    let message = irfft(&x, 0, 1, norm).unwrap_err().to_string();
    assert_eq!(message, "irfft: the length of `n` must be at least 1, it is 0");
    // What an axis that is not there wants is to be had.
    let scalar = Tensor::from_slice(device, &[Complex32::ONE], &[]).unwrap();
    let message = wavecube::fft(&scalar, 0, norm).unwrap_err().to_string();
    assert!(message.contains("reshape(&[1])"), "{message}");
    assert!(wavecube::fft(&scalar.reshape(&[1]).unwrap(), 0, norm).is_ok());
}
