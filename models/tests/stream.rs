//! Convolutions a position at a time.

use burn::tensor::{DType, Tensor};
use wavecube_burn::causal_convolution;
use wavecube_models::{layers::CausalStream, random::Random};

use crate::support::{close, flex, read, tensor, values};

const BATCH: usize = 2;
const CHANNELS: usize = 3;

#[test]
fn a_stream_gives_what_the_whole_gives() {
    let mut random = Random::new(8);
    for [n, taps] in [[100, 100], [100, 20], [65, 5], [20, 40], [1, 1]] {
        let x = values(BATCH * CHANNELS * n * 2, 5);
        let x = tensor(&x, [BATCH, CHANNELS, n, 2], DType::F64, &flex());
        let h = values(CHANNELS * taps * 2, 6);
        let h = tensor(&h, [CHANNELS, taps, 2], DType::F64, &flex());
        let expected = read(causal_convolution(x.clone(), h.clone()).unwrap());
        let new = || CausalStream::new(h.clone(), BATCH, n);
        // One by one, then in parts of any length, single positions among them.
        for longest in [1, 9, 70] {
            let mut stream = new();
            let mut found = Vec::new();
            while stream.position() < n {
                let at = stream.position();
                let part = if random.below(2) == 0 { 1 } else { 1 + random.below(longest) };
                found.push(stream.push(x.clone().narrow(2, at, part.min(n - at))).unwrap());
            }
            close(&read(Tensor::cat(found, 2)), &expected, 1e-13);
            let full = stream.push(x.clone().narrow(2, 0, 1)).unwrap_err().to_string();
            assert!(full.contains("positions"), "{full}");
        }
        let mut fresh = new();
        let wide = fresh.push(x.narrow(0, 0, 1).narrow(2, 0, 1)).unwrap_err().to_string();
        assert!(wide.contains("`x`"), "{wide}");
        assert_eq!(fresh.position(), 0);
    }
}
