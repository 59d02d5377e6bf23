//! The cache of keys and values: what each type keeps, forks, and what is refused.

use burn::{
    module::Module as _,
    tensor::{DType, Device, Tensor},
};
use wavecube_burn::{Attention, Cache, CacheConfig, CacheType, attention};
use wavecube_core::{Error, Result};
use wavecube_models::{
    config::Config,
    generate::{Sampling, generate, generate_all},
    layers::Room,
    lct_gpt::{ModelConfig, Placement, Positions},
    model::{Architecture, Model, Past},
    random::Random,
};

use crate::support::{
    by_kernels, bytes, close, devices, devices_with_kernels, flex, read, room, tensor, text, values,
};

const CONTEXT: usize = 40;

/// Heads of 32 numbers, which every type stores.
fn model(positions: Positions, device: &Device) -> Model {
    let lct_gpt = ModelConfig {
        context: CONTEXT,
        d_model: 64,
        layers: 2,
        heads: 2,
        placement: Placement::None,
        positions,
        ..ModelConfig::default()
    };
    let config = Config { model: Architecture::LctGpt, lct_gpt, ..Config::default() };
    Model::new(&config, &mut Random::new(4), device).unwrap().valid()
}

fn advance(model: &Model, past: &mut Past, part: &[i32], device: &Device) -> Vec<f64> {
    read(model.advance(bytes(part, device), past).unwrap())
}

/// The relative error of attention in 16, 8 and 4 bits by the errors of what is stored: rounding to 16 bits three times,
/// and the squares that `tests/` holds quantised caches to, 5.5e-5 and 1.2e-2, twice over. What a cache stores in fewer
/// bits must also differ, or it did not.
#[test]
fn a_cache_of_fewer_bits_is_as_good_as_its_bits() {
    let cases = [
        (CacheType::F16, Positions::Rope, 3.0 * 4.9e-4, 1e-5),
        (CacheType::Int8, Positions::Alibi, 2.0 * 5.5e-5_f64.sqrt(), 1e-5),
        (CacheType::Int4, Positions::Rope, 2.0 * 1.2e-2_f64.sqrt(), 1e-3),
    ];
    let devices = devices_with_kernels();
    for (device, (cache, positions, most, least)) in
        devices.iter().flat_map(|device| cases.map(|case| (device, case)))
    {
        let model = model(positions, device);
        let text = text(3, CONTEXT);
        let whole = read(model.forward(bytes(&text, device)).unwrap());
        let mut past = model.begin(&Room { cache, ..room(1, CONTEXT) }).unwrap();
        let mut found = Vec::new();
        let mut expected = Vec::new();
        for part in [&text[..17], &text[17..18], &text[18..]] {
            found.extend(by_kernels(&["Cache::attend"], || {
                advance(&model, &mut past, part, device)
            }));
            expected.extend_from_slice(&whole[(past.len() - 1) * 256..past.len() * 256]);
        }
        eprintln!("{cache:?}");
        close(&found, &expected, most);
        let differs = found.iter().zip(&expected).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
        let norm = expected.iter().map(|y| y * y).sum::<f64>();
        assert!((differs / norm).sqrt() >= least, "{cache:?} keeps more than its bits");
    }
}

const HEADS: usize = 2;
const DIM: usize = 8;

fn sizes(texts: usize, positions: usize) -> CacheConfig {
    let storage = CacheType::F32;
    CacheConfig { layers: 2, heads: HEADS, dim: DIM, texts, positions, rotary: false, storage }
}

fn empty(config: &CacheConfig, device: &Device) -> Result<Cache> {
    Cache::new(config, &Tensor::zeros([1, 1], device))
}

/// The numbers of one position of one layer of a text: of `k` and `v`.
fn row(seed: u64, layer: usize) -> [Vec<f64>; 2] {
    [1, 2].map(|which| values(HEADS * DIM, seed * 8 + 2 * layer as u64 + which))
}

/// `[texts, HEADS, positions, DIM]` of rows by text and position.
fn stacked(rows: &[Vec<Vec<f64>>], device: &Device) -> Tensor<4> {
    let shape = [rows.len(), rows[0].len(), HEADS, DIM];
    let all: Vec<f64> = rows.iter().flatten().flatten().copied().collect();
    tensor(&all, shape, DType::F32, device).swap_dims(1, 2)
}

/// A cache beside the seeds of the positions that each of its texts has.
#[derive(Clone)]
struct Beside(Cache, Vec<Vec<u64>>);

impl Beside {
    /// Goes on by `time` positions, and attends with the last of them.
    fn grow(&mut self, time: usize, random: &mut Random, device: &Device) {
        let Self(cache, texts) = self;
        for text in texts.iter_mut() {
            text.extend((0..time).map(|_| random.below(1 << 20) as u64));
        }
        cache.append(time).unwrap();
        for layer in 0..2 {
            let of = |which: usize, skipped: usize, device: &Device| {
                let row = |&seed: &u64| row(seed, layer)[which].clone();
                let rows = |text: &Vec<u64>| text[skipped..].iter().map(row).collect();
                stacked(&texts.iter().map(rows).collect::<Vec<_>>(), device)
            };
            let before = texts[0].len() - time;
            // The queries are the keys.
            let fresh = [0, 0, 1].map(|which| of(which, before, device));
            let found = cache.attend(layer, fresh, &Attention::causal()).unwrap();
            let [q, k, v] =
                [(0, before), (0, 0), (1, 0)].map(|(which, skipped)| of(which, skipped, &flex()));
            let expected = attention(q, k, v, &Attention::causal()).unwrap();
            close(&read(found), &read(expected), 1e-6);
        }
    }
}

/// Texts that grow, are cloned, dropped, named twice and joined in any order, against the attention of all they have
/// been given.
#[test]
fn texts_are_kept_whatever_happens_to_others() {
    for device in devices() {
        let mut random = Random::new(11);
        for _ in 0..3 {
            let begin = Beside(empty(&sizes(6, 64), &device).unwrap(), vec![Vec::new(); 6]);
            let mut all = vec![begin.clone()];
            all[0].0.select(&[0, 3], &device);
            all[0].1.truncate(2);
            drop(begin);
            for _ in 0..14 {
                let at = random.below(all.len());
                let count = all.iter().map(|one| one.1.len()).sum::<usize>();
                match random.below(5) {
                    0 if count + all[at].1.len() <= 6 => all.push(all[at].clone()),
                    1 if all.len() > 1 => drop(all.swap_remove(at)),
                    2 if count < 6 => {
                        let Beside(cache, texts) = &mut all[at];
                        let rows: Vec<usize> = (0..texts.len()).rev().chain([0]).collect();
                        cache.select(&rows, &device);
                        *texts = rows.iter().map(|&row| texts[row].clone()).collect();
                    }
                    3 => {
                        let other = random.below(all.len());
                        if other != at && all[other].1[0].len() == all[at].1[0].len() {
                            let Beside(more, texts) = all[other].clone();
                            all[at].0.join(more).unwrap();
                            all[at].1.extend(texts);
                            all.swap_remove(other);
                        }
                    }
                    _ if all[at].1[0].len() < 58 => {
                        let time = [1, 1, 2, 6][random.below(4)];
                        all[at].grow(time, &mut random, &device);
                    }
                    _ => {}
                }
            }
            for one in &mut all {
                one.grow(1, &mut random, &device);
            }
        }
    }
}

#[test]
fn what_a_device_does_not_have_is_refused() {
    let int8 = CacheConfig { storage: CacheType::Int8, ..sizes(1, 8) };
    let refused = empty(&int8, &flex()).unwrap_err();
    assert!(refused.to_string().contains("wgpu"), "{refused}");
    let sampling = Sampling { cache: CacheType::F16, ..Sampling::default() };
    let refused = generate(&model(Positions::Rope, &flex()), "a", &sampling, |_| {}).unwrap_err();
    assert!(refused.to_string().contains("wgpu"), "{refused}");
    for device in devices_with_kernels() {
        let refused = empty(&int8, &device).unwrap_err();
        assert!(refused.to_string().contains("a multiple of 32"), "{refused}");
        let mut cache = empty(&sizes(1, 16), &device).unwrap();
        let other = empty(&sizes(1, 16), &device).unwrap();
        assert!(matches!(cache.join(other), Err(Error::Unsupported { .. })));
        assert!(matches!(cache.append(17), Err(Error::Limit { .. })));
        // Nothing has changed: there is room for as many as before.
        cache.append(16).unwrap();
        let x = || Tensor::<4>::ones([1, HEADS, 16, DIM], &device);
        assert!(cache.attend(2, [x(), x(), x()], &Attention::causal()).is_err());
        close(
            &read(cache.attend(0, [x(), x(), x()], &Attention::causal()).unwrap()),
            &[1.0; 256],
            1e-6,
        );
    }
}

/// On a device with pages prompts share them, texts join and end; each is what it is alone.
#[test]
fn texts_in_pages_are_those_alone() {
    for device in devices_with_kernels() {
        let model = model(Positions::Rope, &device);
        let prompts = ["ab", "of seven", "ab", "b"];
        let prompts = prompts.map(str::to_owned);
        let stop = (b'a'..=b'd').map(|byte| vec![byte]).collect();
        let sampling =
            Sampling { temperature: 2.0, top_k: 0, length: 12, stop, ..Sampling::default() };
        let together =
            by_kernels(&["Cache::attend"], || generate_all(&model, &prompts, &sampling).unwrap());
        assert_ne!(together[0], together[2], "two draws of one prompt");
        for (i, (prompt, text)) in prompts.iter().zip(together).enumerate() {
            let seed = sampling.seed + i as u64;
            let alone = generate(&model, prompt, &Sampling { seed, ..sampling.clone() }, |_| {});
            assert_eq!(alone.unwrap(), text, "prompt {i}");
        }
    }
}
