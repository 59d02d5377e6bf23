//! `RUSTFLAGS="-C target-cpu=native" cargo run --release`: candle's products with weights in `Q4_0` and `Q8_0` on the CPU, of the shapes that the
//! catalogue's `qmatmul/` has. One line of JSON a product: what, milliseconds (the median of 15).

use std::time::Instant;

use candle_core::{
    Device, Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};

/// Rows, outputs, inputs.
const SHAPES: [[usize; 3]; 12] = [
    [1, 4096, 4096],
    [1, 2048, 2048],
    [8, 2048, 2048],
    [64, 2048, 2048],
    [1, 3072, 768],
    [8, 3072, 768],
    [64, 3072, 768],
    [1, 768, 3072],
    [8, 768, 3072],
    [64, 768, 3072],
    [1, 256, 64],
    [64, 256, 64],
];
const WARM_UP: usize = 2;
const RUNS: usize = 15;

fn main() -> Result<()> {
    for [m, n, k] in SHAPES {
        let weight = Tensor::randn(0f32, 1.0, (n, k), &Device::Cpu)?;
        let x = Tensor::randn(0f32, 1.0, (m, k), &Device::Cpu)?;
        let exact = x.matmul(&weight.t()?)?;
        for (name, dtype) in [("Q4_0", GgmlDType::Q4_0), ("Q8_0", GgmlDType::Q8_0)] {
            let packed = QMatMul::from_qtensor(QTensor::quantize(&weight, dtype)?)?;
            // What it computes is that product, to the format's error.
            let error = (packed.forward(&x)? - &exact)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
            let size = exact.sqr()?.mean_all()?.to_scalar::<f32>()?;
            assert!(error < 0.02 * size, "{name}: {error} of {size}");
            let mut times = Vec::new();
            for _ in 0..WARM_UP + RUNS {
                let start = Instant::now();
                packed.forward(&x)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.drain(..WARM_UP);
            times.sort_by(f64::total_cmp);
            let ms = times[RUNS / 2];
            println!(r#"{{"id": "candle/{name}/m{m}_n{n}_k{k}", "ms": {ms:.4}}}"#);
        }
    }
    Ok(())
}
