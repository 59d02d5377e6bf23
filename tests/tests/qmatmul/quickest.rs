//! The strategy by measurement: one that fits, the same when asked again, and kept for the next process.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use wavecube::{
    Dtype, QmatmulOptions, QmatmulStrategy, QuantizedWeight, Tensor, qmatmul_with,
    quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
};
use wavecube_core::choices::Choices;
use wavecube_testing::{Rng, assert_close, devices, read, reference::qmatmul::product, tensor};

/// Set for the copies of this program that measure.
const MEASURES: &str = "WAVECUBE_TEST_MEASURES";

/// Copies of this program measure, so that no test reads or writes the caches of whoever runs it.
#[test]
fn the_quickest_strategy_is_kept_for_the_next_process() {
    if env::var_os(MEASURES).is_some() {
        return measure();
    }
    let folder = env::temp_dir().join(format!("wavecube-quickest-{}", std::process::id()));
    let first = chosen(&folder);
    assert_eq!(first.len(), devices().len());
    // What the file names is taken, unless there is no such strategy.
    for (named, expected) in [("naive", "Naive"), ("no strategy of ours", "")] {
        for file in files(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            let mut lines = text.lines();
            let mut choices = Choices::open(Some(&folder), lines.next().unwrap());
            let keys: Vec<&str> =
                lines.filter_map(|line| line.split_once('\t').map(|(key, _)| key)).collect();
            assert_eq!(keys.len(), 1, "{text}");
            choices.keep(keys[0], named).unwrap();
        }
        for strategy in chosen(&folder) {
            assert!(strategy == expected || expected.is_empty(), "{strategy}, not {expected}");
        }
    }
    let measured_again = files(&folder).iter().all(|file| {
        let text = fs::read_to_string(file).unwrap();
        !text.contains("no strategy of ours")
    });
    assert!(measured_again, "a strategy that does not exist is replaced");
    fs::remove_dir_all(&folder).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), devices().len(), "one for every device: {files:?}");
    files
}

/// What another process chooses on each device.
fn chosen(folder: &Path) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap());
    let name = "qmatmul::quickest::the_quickest_strategy_is_kept_for_the_next_process";
    child.args(["--exact", name, "--nocapture"]).env(MEASURES, "1").env("WAVECUBE_CACHE", folder);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter_map(|line| line.strip_prefix("chosen: ").map(String::from)).collect()
}

fn measure() {
    let mut rng = Rng::fresh();
    for device in devices() {
        let (m, [n, k]) = (1, [40, 70]);
        let scheme = Scheme {
            bits: Bits::Four,
            symmetric: false,
            group: Group::Of64,
            scale: ScaleType::F16,
        };
        let values: Vec<f32> = rng.real(n * k).iter().map(|v| v.re as f32).collect();
        let packed = PackedWeight::quantize(&values, [n, k], scheme, Clip::None).unwrap();
        let weight = QuantizedWeight::upload(device, &packed).unwrap();
        let (x, xs) = tensor(device, &rng.real(m * k), Dtype::F32, false, &[m, k]).unwrap();
        let mut options = QmatmulOptions::default();
        options.strategy = weight.quickest(&x, &options).unwrap();
        assert_ne!(options.strategy, QmatmulStrategy::Auto);
        println!("\nchosen: {:?}", options.strategy);
        let xs: Vec<f64> = xs.iter().map(|v| v.re).collect();
        let w: Vec<f64> = packed.dequantize().into_iter().map(f64::from).collect();
        let expected: Vec<_> = product(&xs, &w, k).into_iter().map(Into::into).collect();
        let y = qmatmul_with(&x, &weight, &options).unwrap();
        let bound = f64::from(f32::EPSILON) * (k as f64).sqrt();
        assert_close(&format!("{device}, seed {}", rng.seed), &read(&y), &expected, bound);
        // Asked again, it is the same, whatever strategy the options name.
        for _ in 0..5 {
            assert_eq!(weight.quickest(&x, &options).unwrap(), options.strategy);
        }
        let longer = Tensor::empty(device, Dtype::F32, false, &[m, k + 1]).unwrap();
        assert!(weight.quickest(&longer, &options).is_err());
    }
}
