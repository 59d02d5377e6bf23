//! Every operation on a device that has no more than WebGPU guarantees, family by family.
#![cfg(feature = "wgpu")]

use std::sync::LazyLock;

use wavecube::{Device, Dtype, Limits};
use wavecube_testing::{catalogue, webgpu};

static DEVICE: LazyLock<Device> = LazyLock::new(webgpu);

#[test]
fn its_limits_are_those_that_plans_are_tested_with() {
    let (found, guaranteed) = (*DEVICE.limits(), Limits::WEBGPU);
    assert_eq!(found.bindings, guaranteed.bindings);
    assert_eq!(found.shared_bytes, guaranteed.shared_bytes);
}

/// Holds an operation's shortest lines and long ones against their reference: transforms, scans and products take
/// other kernels for either.
fn assert_right(family: &str) {
    let mut wrong = Vec::new();
    for n in [64, 8192] {
        for case in catalogue::one_an_op(n).iter().filter(|case| case.op.starts_with(family)) {
            // The runtime reports the adapter's types; WebGPU guarantees none but this one.
            if case.types() != [Dtype::F32; 2] {
                continue;
            }
            match case.prepare(&DEVICE).and_then(|case| case.error()) {
                Ok(error) if error <= case.gate => {}
                outcome => wrong.push(format!("{}: {outcome:?} (gate {:e})", case.id(), case.gate)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn transforms_are_right() {
    assert_right("fft");
}

#[test]
fn canonical_transforms_are_right() {
    assert_right("lct");
}

#[test]
fn convolutions_are_right() {
    assert_right("convolution");
}

#[test]
fn quantised_products_are_right() {
    assert_right("qmatmul");
}

#[test]
fn maps_norms_and_mixtures_are_right() {
    assert_right("mixing");
}

#[test]
fn tridiagonal_operators_are_right() {
    assert_right("tridiag");
    assert_right("leading");
}

#[test]
fn attention_is_right() {
    assert_right("attention");
}
