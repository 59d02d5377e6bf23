//! Packed weights in files: there and back, and what is no such file.

use proptest::prelude::*;
use wavecube::{
    Error, FileFault,
    quant::{Clip, PackedWeight, from_bytes, load, save, to_bytes},
};
use wavecube_testing::Rng;

use super::schemes;

/// One weight of every scheme, of odd shapes.
fn weights() -> Vec<(String, PackedWeight)> {
    let mut rng = Rng::fresh();
    let weight = |scheme| {
        let [n, k] = [rng.int(1, 7), rng.int(1, 200)];
        let values: Vec<f32> = rng.real(n * k).iter().map(|v| v.re as f32).collect();
        PackedWeight::quantize(&values, [n, k], scheme, Clip::None).unwrap()
    };
    let mut named: Vec<_> = schemes().map(weight).map(|w| (w.scheme().to_string(), w)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

#[test]
fn every_scheme_survives_a_file() {
    let weights = weights();
    let path = std::env::temp_dir().join(format!("wavecube-quant-{}", std::process::id()));
    save(&path, &weights).unwrap();
    let read = load(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read.unwrap(), weights);
    assert_eq!(to_bytes(&weights), to_bytes(&weights), "the same bytes every time");
}

#[test]
fn foreign_files_are_refused() {
    let found = load(std::path::Path::new("/nowhere/at/all"));
    let missing = FileFault::Io(std::io::ErrorKind::NotFound);
    assert_eq!(found, Err(Error::File { op: "quant::load", fault: missing }));
    let missing = save(std::path::Path::new("/nowhere/at/all"), &weights());
    assert!(matches!(missing, Err(Error::File { fault: FileFault::Io(_), .. })), "{missing:?}");
    let is_foreign = |bytes: &[u8]| {
        matches!(from_bytes(bytes), Err(Error::File { fault: FileFault::Foreign(_), .. }))
    };
    assert!(is_foreign(b""));
    assert!(is_foreign(b"no safetensors at all, but longer than its header"));
    let bytes = to_bytes(&weights()[..1]).unwrap();
    for len in 0..bytes.len() {
        assert!(is_foreign(&bytes[..len]), "of {} bytes {len} were enough", bytes.len());
    }
    let twice = [weights().remove(0), weights().remove(0)];
    assert!(matches!(to_bytes(&twice), Err(Error::File { .. })));
    // Another version: the first number of the layout, which is the first tensor.
    let at = bytes.windows(8).position(|w| w == 1u64.to_le_bytes()).unwrap();
    let mut other = bytes.clone();
    other[at] = 2;
    assert!(is_foreign(&other));
}

proptest! {
    /// A file with some bytes changed is refused or read, and what is read can be used.
    #[test]
    fn damaged_files_are_no_disaster(which in 0..48usize, damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut bytes = to_bytes(&weights()[which..=which]).unwrap();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(weights) = from_bytes(&bytes) {
            for (_, weight) in weights {
                prop_assert_eq!(weight.dequantize().len(), weight.shape().iter().product::<usize>());
            }
        }
    }
}
