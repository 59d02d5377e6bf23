//! A Fourier transform and a fractional one from a slice on the host to vectors on the host.

use wavecube::{Complex32, Device, Normalization, Tensor, fft, frft};

fn main() -> wavecube::Result<()> {
    let device = Device::best()?;
    let n = 1000;
    let wave = |i: usize| std::f32::consts::TAU * 50.0 * i as f32 / n as f32;
    let signal: Vec<Complex32> = (0..n).map(|i| Complex32::from_polar(1.0, wave(i))).collect();
    let x = Tensor::from_slice(&device, &signal, &[n])?;
    let spectrum: Vec<Complex32> = fft(&x, 0, Normalization::Forward)?.read()?;
    println!("on {device}: bin 50 holds {:.6}, bin 51 {:.6}", spectrum[50].re, spectrum[51].re);
    let half: Vec<Complex32> = frft(&x, std::f64::consts::FRAC_PI_4, 0)?.read()?;
    println!("half way to its spectrum the wave is a chirp: {:.3}", half[n / 2]);
    Ok(())
}
