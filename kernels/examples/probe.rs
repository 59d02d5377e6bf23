use cubecl::prelude::*;
use wavecube_core::{*, fft::*};
use wavecube_kernels::fft::*;
fn main() {
    let client = cubecl::Device::default().client();
    let limits = wavecube_kernels::limits(&client);
    println!("{limits:?}");
    let total = 1usize << 20;
    let copy = { 
        let a = client.create_from_slice(&vec![1u8; total*8]);
        let _ = a; 0.0 };
    let _ = copy;
    for n in std::env::args().skip(1).map(|s| s.parse::<usize>().unwrap()) {
        let rows = (total / n).max(1);
        let p = FftProblem::c2c(&[rows, n], -1, Direction::Forward, Normalization::Backward);
        let plan = FftPlan::new(&p, &limits).unwrap();
        println!("{}", plan.describe());
        let mut seed = 12345u64;
        let x: Vec<f32> = (0..2*rows*n).map(|_| { seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); ((seed >> 40) as f32) / 8388608.0 - 1.0 }).collect();
        let input = client.create_from_slice(f32::as_bytes(&x));
        let output = client.create_from_slice(f32::as_bytes(&vec![f32::NAN; x.len()]));
        let tables = upload_tables(&client, &plan);
        let b = FftBindings { input, output: output.clone(), tables, bound: vec![] };
        let t = std::time::Instant::now();
        fft_launch(&client, &b, &plan).unwrap();
        let y = client.read_one(output.clone()).unwrap();
        let y = f32::from_bytes(&y).to_vec();
        println!("first {:?}", t.elapsed());
        let mut z: Vec<Complex64> = x.chunks(2).map(|c| Complex64::new(c[0] as f64, c[1] as f64)).collect();
        for r in z.chunks_mut(n) { host_fft(r, Direction::Forward); }
        let (mut e, mut s) = (0.0, 0.0);
        for (a, b) in y.chunks(2).zip(&z) { e += (Complex64::new(a[0] as f64, a[1] as f64) - b).norm_sqr(); s += b.norm_sqr(); }
        println!("n={n} rel L2 = {:.2e}", (e / s).sqrt());
        let mut best = f64::MAX;
        for _ in 0..10 {
            let t = std::time::Instant::now();
            fft_launch(&client, &b, &plan).unwrap();
            cubecl::future::block_on(client.sync_buffers([&output])).unwrap();
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!("n={n} {:.3} ms", best * 1e3);
    }
}
