//! Transforms that stay on the device: there, a filter, back, along any axis; only the end is read.

use wavecube::{
    Complex32, Device, Dtype, Normalization, Tensor, chirp_multiply, fft, frft_into, ifft,
};

fn main() -> wavecube::Result<()> {
    let device = Device::best()?;
    let signal: Vec<Complex32> =
        (0..8 * 256).map(|i| Complex32::new((i % 7) as f32, 0.0)).collect();
    let x = Tensor::from_slice(&device, &signal, &[8, 256])?;
    let spectrum = fft(&x, -1, Normalization::Ortho)?;
    let chirped = ifft(&chirp_multiply(&spectrum, 0.3, -1)?, -1, Normalization::Ortho)?;
    // Columns of the same memory, and an output that is used again and again.
    let columns = chirped.permuted(&[1, 0])?;
    let mut turned = Tensor::empty(&device, Dtype::F32, true, columns.shape())?;
    for step in 0..4 {
        frft_into(&columns, &mut turned, 0.1 * f64::from(step), 0)?;
    }
    println!("on {device}: {:?}", &turned.read::<Complex32>()?[..2]);
    Ok(())
}
