//! Complex numbers in a few bits: refused with a reason, or no further off than the next code.

#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use wavecube_core::{
    Complex64,
    polar::{Coding, ComplexCodes, from_bytes, to_bytes},
};

#[derive(Arbitrary, Debug)]
struct Input {
    file: Vec<u8>,
    values: Vec<(f32, f32)>,
    coding: u8,
    magnitudes: u8,
    bits: u8,
    group: u8,
    steps: i32,
}

fuzz_target!(|input: Input| {
    if let Ok(codes) = from_bytes(&input.file) {
        assert!(codes.iter().all(|(_, codes)| codes.dequantize().iter().all(|z| z.is_finite())));
        assert_eq!(from_bytes(&to_bytes(&codes).expect("names differ")), Ok(codes));
    }
    let values: Vec<Complex64> =
        input.values.iter().take(256).map(|&(re, im)| Complex64::new(re.into(), im.into())).collect();
    let coding = match input.coding % 3 {
        0 => Coding::Polar,
        1 => Coding::PolarOf { magnitudes: usize::from(input.magnitudes) },
        _ => Coding::Cartesian,
    };
    // Tables of the widest codes take long to make.
    let bits = u32::from(input.bits % 16);
    let codes = match ComplexCodes::quantize(&values, coding, bits, input.group.into()) {
        Ok(codes) => codes,
        Err(error) => {
            assert!(error.to_string().starts_with("ComplexCodes:"), "{error}");
            return;
        }
    };
    let back = codes.dequantize();
    assert_eq!(back.len(), values.len());
    assert!(back.iter().all(|z| z.is_finite()));
    let largest = values.iter().map(|z| z.norm()).fold(0.0, f64::max);
    assert!(back.iter().all(|z| z.norm() <= 1.5 * largest + 1e-6), "{back:?} {values:?}");
    let named = [("codes".to_owned(), codes.clone())];
    let bytes = to_bytes(&named).expect("there is one name");
    assert_eq!(from_bytes(&bytes).expect("what is written can be read"), named);
    match codes.turned(input.steps as isize) {
        Ok(turned) => {
            let back_again = turned.turned(-(input.steps as isize)).expect("it was turned before");
            assert_eq!(back_again, codes);
        }
        Err(_) => assert_eq!(codes.phases(), 0),
    }
});
