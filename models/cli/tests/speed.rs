//! Timings of mixers, models, training and generation.

use burn::tensor::Device;
use wavecube_burn::CacheType;
use wavecube_cli::speed::{self, SpeedOptions};

#[test]
fn mixers_and_models_are_timed_at_every_length() {
    let options = SpeedOptions {
        lengths: vec![1, 6],
        width: 8,
        heads: 2,
        layers: 2,
        batch: 2,
        calls: 1,
        recompute: true,
        cache: CacheType::F32,
    };
    let mixers = speed::measure(&options, &Device::flex(), |_| {}).unwrap();
    let models = speed::measure_models(&options, &Device::flex(), |_| {}).unwrap();
    for rows in [mixers, models] {
        assert_eq!(rows.iter().map(|row| row.length).collect::<Vec<_>>(), [1, 6]);
        let mut times = rows.iter().flat_map(|row| &row.times);
        assert!(times.all(|time| time.forward > 0.0 && time.both > 0.0));
        assert!(speed::markdown(&rows).contains("| 6 |"));
    }
    let rows = speed::measure_generation(&options, &Device::flex(), |_| {}).unwrap();
    assert_eq!(rows.len(), 2 * 4);
    assert!(rows.iter().all(|row| row.kept > 0.0 && row.recomputed > Some(0.0)));
    assert!(speed::generation_markdown(&rows).contains("| 6 | ResNet-BK |"));
    let rows = speed::measure_training(&options, None, &Device::flex(), |_| {}).unwrap();
    assert_eq!(rows.len(), 2 * 4);
    assert!(rows.iter().all(|row| row.tokens_per_second > 0.0 && row.threads > 0));
    assert!(speed::training_markdown(&rows).contains("| 6 | byte-spectral |"));
    let odd = SpeedOptions { heads: 3, ..options };
    assert!(speed::measure_training(&odd, None, &Device::flex(), |_| {}).is_err());
    assert!(speed::measure(&odd, &Device::flex(), |_| {}).is_err());
    assert!(speed::measure_models(&odd, &Device::flex(), |_| {}).is_err());
    assert!(speed::measure_generation(&odd, &Device::flex(), |_| {}).is_err());
}
