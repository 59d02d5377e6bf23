//! Generation: what a state gives is what the whole text gives, stops, and many texts at once.

use burn::{module::Module as _, tensor::Device};
use wavecube_models::{
    config::Config,
    generate::{Sampling, Session, generate, generate_all},
    layers::{Axis, LctConfig, Start},
    lct_gpt::{ModelConfig, Placement, Positions},
    model::{Architecture, Model, Past},
    presets::Preset,
    random::Random,
};

use crate::support::{
    by_kernels, bytes, close, devices_with_kernels, flex, preset, read, room, text,
};

const CONTEXT: usize = 24;

fn config(positions: Positions) -> Config {
    let lct_gpt = ModelConfig {
        context: CONTEXT,
        d_model: 16,
        layers: 2,
        heads: 2,
        placement: Placement::None,
        positions,
        ..ModelConfig::default()
    };
    Config { model: Architecture::LctGpt, lct_gpt, ..Config::default() }
}

fn model(positions: Positions, device: &burn::tensor::Device) -> Model {
    Model::new(&config(positions), &mut Random::new(4), device).unwrap().valid()
}

/// Every kind of model.
fn configurations() -> Vec<(String, Config)> {
    let mut all = Vec::new();
    let kinds = [Positions::Rope, Positions::Learned, Positions::Sinusoidal, Positions::Alibi];
    for positions in kinds {
        all.push((format!("{positions:?}"), config(positions)));
    }
    for placement in [Placement::Before, Placement::After, Placement::Block, Placement::Mixer] {
        for axis in [Axis::Channels, Axis::Sequence] {
            let mut config = config(Positions::Rope);
            config.lct_gpt.placement = placement;
            config.lct_gpt.lct = LctConfig { axis, ..LctConfig::default() };
            if axis == Axis::Sequence {
                config.lct_gpt.lct.transform = Start::Fresnel;
            }
            all.push((format!("{placement:?} along the {axis:?}"), config));
        }
    }
    let mut base = config(Positions::Rope);
    base.resnet_bk.context = CONTEXT;
    base.resnet_bk.d_model = 16;
    base.resnet_bk.layers = 5;
    for preset in Preset::all() {
        let mut config = preset.of(&base);
        // Untrained, nothing is sure: at the confidence of chance some positions leave.
        config.resnet_bk.exits.confidence = 0.006;
        if config.model == Architecture::ResnetBk {
            all.push((preset.to_string(), config));
        }
    }
    all
}

/// What the model says after `past` and `part`, against the last position of `whole` so far. Products of few rows and of
/// many are summed in other orders; resolvents amplify that, tenfold in these models.
#[track_caller]
fn goes_on(model: &Model, past: &mut Past, part: &[i32], whole: &[f64], device: &Device) {
    let found = read(model.advance(bytes(part, device), past).unwrap());
    let tolerance = if matches!(model, Model::ResnetBk(_)) { 2e-5 } else { 2e-6 };
    close(&found, &whole[(past.len() - 1) * 256..past.len() * 256], tolerance);
}

/// Cut anywhere, in two parts and byte by byte, a text gives what it gives in one.
#[test]
fn a_state_gives_what_the_whole_text_gives() {
    for (name, config) in configurations() {
        eprintln!("{name}");
        let model = Model::new(&config, &mut Random::new(4), &flex()).unwrap().valid();
        let text = text(3, CONTEXT);
        let whole = read(model.forward(bytes(&text, &flex())).unwrap());
        let begin = || model.begin(&room(1, CONTEXT)).unwrap();
        for cut in 1..CONTEXT {
            let mut past = begin();
            for part in [&text[..cut], &text[cut..]] {
                goes_on(&model, &mut past, part, &whole, &flex());
            }
            assert_eq!(past.len(), CONTEXT);
            assert!(model.advance(bytes(&[1], &flex()), &mut past).is_err());
            assert_eq!(past.len(), CONTEXT);
        }
        let mut past = begin();
        for byte in &text {
            goes_on(&model, &mut past, std::slice::from_ref(byte), &whole, &flex());
        }
    }
}

#[test]
fn a_state_gives_the_same_on_a_device_with_kernels() {
    let kernels = [
        ("Rope", ["attention", "Cache::attend"]),
        ("Alibi", ["attention", "Cache::attend"]),
        ("Block along the Sequence", ["lct", "causal_convolution"]),
        // Few positions at a time go on without an operation of their own.
        ("bk-halting", ["leading_resolvent"; 2]),
    ];
    let all = configurations();
    for (model, kernels) in kernels {
        let (_, config) = all.iter().find(|(name, _)| name == model).expect("a configuration");
        for device in devices_with_kernels() {
            eprintln!("{model}");
            let model = Model::new(config, &mut Random::new(4), &device).unwrap().valid();
            let text = text(3, CONTEXT);
            by_kernels(&kernels, || {
                let whole = read(model.forward(bytes(&text, &device)).unwrap());
                for cut in [1, 7] {
                    let mut past = model.begin(&room(1, CONTEXT)).unwrap();
                    for part in text.chunks(cut) {
                        goes_on(&model, &mut past, part, &whole, &device);
                    }
                }
            });
        }
    }
}

/// Beyond the context a model sees the last bytes of a text alone.
#[test]
fn a_text_longer_than_the_context_goes_on_from_its_last_bytes() {
    let all = configurations();
    let greedy = Sampling { temperature: 0.0, length: CONTEXT + 4, ..Sampling::default() };
    for (name, config) in [&all[0], &all[7], &all[all.len() - 1]] {
        let model = Model::new(config, &mut Random::new(4), &flex()).unwrap().valid();
        for length in [5, CONTEXT, 3 * CONTEXT + 5] {
            let mut text = "a".repeat(length).into_bytes();
            let prompt = String::from_utf8(text.clone()).unwrap();
            let found = generate(&model, &prompt, &greedy, |_| {}).unwrap();
            // At the very end there may be no room for the character that is likeliest to begin.
            for &byte in &found.as_bytes()[..CONTEXT] {
                let seen: Vec<i32> = text.iter().map(|&byte| i32::from(byte)).collect();
                let seen = &seen[seen.len().saturating_sub(CONTEXT)..];
                let logits = read(model.next_logits(bytes(seen, &flex())).unwrap());
                let follows = |byte: u8| {
                    let text = [&text[..], &[byte]].concat();
                    str::from_utf8(&text).err().is_none_or(|error| error.error_len().is_none())
                };
                let likeliest =
                    (0..=255).filter(|&byte| follows(byte)).map(|byte| logits[byte as usize]);
                let likeliest = likeliest.fold(f64::NEG_INFINITY, f64::max);
                // Neighbours may change places, rounded otherwise.
                let taken = logits[usize::from(byte)];
                assert!(taken >= likeliest - 1e-5, "{name} {length}: {taken} for {likeliest}");
                text.push(byte);
            }
        }
    }
}

fn wild(seed: u64, length: usize) -> Sampling {
    Sampling { temperature: 2.0, top_k: 0, seed, length, ..Sampling::default() }
}

/// Sixty-four texts of mixed prompts, some longer than the context, each as it is alone.
#[test]
fn texts_side_by_side_are_those_alone() {
    let model = model(Positions::Rope, &flex());
    let prompts: Vec<String> = (0..64).map(|i| "prompt ".repeat(i % 9)).collect();
    alone_as_together(&model, &prompts, &wild(7, 12));
}

/// Every kind of model, whatever it keeps and wherever its positions leave; texts that join, that end by their
/// length or by a stop, and that outgrow the context meanwhile.
#[test]
fn texts_of_every_model_are_those_alone() {
    let mut spectral = preset("spectral").of(&config(Positions::Rope));
    (spectral.byte_spectral.context, spectral.byte_spectral.d_model) = (CONTEXT, 16);
    let spectral = ("Spectral".to_owned(), spectral);
    let prompts =
        ["", "a", "bc", "bc", "bd", "a prompt of 20 bytes", "one of more than the context's 24"];
    for (name, config) in configurations().iter().chain([&spectral]) {
        eprintln!("{name}");
        let model = Model::new(config, &mut Random::new(4), &flex()).unwrap().valid();
        let stop = (b'a'..=b'p').map(|byte| vec![byte]).collect();
        alone_as_together(&model, &prompts.map(str::to_owned), &Sampling { stop, ..wild(5, 9) });
    }
}

#[track_caller]
fn alone_as_together(model: &Model, prompts: &[String], sampling: &Sampling) {
    let together = generate_all(model, prompts, sampling).unwrap();
    for (i, (prompt, text)) in prompts.iter().zip(together).enumerate() {
        let seed = sampling.seed + i as u64;
        let alone = generate(model, prompt, &Sampling { seed, ..sampling.clone() }, |_| {});
        assert_eq!(alone.unwrap(), text, "prompt {i}");
        assert!(text.len() == sampling.length || !sampling.stop.is_empty());
    }
}

#[test]
fn a_text_ends_before_a_stop_string() {
    let model = model(Positions::Learned, &flex());
    let whole = generate(&model, "a", &wild(11, 40), |_| {}).unwrap();
    let starts: Vec<usize> = whole.char_indices().map(|(at, _)| at).collect();
    for (first, count) in [(5, 1), (9, 3), (12, 6)] {
        // It straddles steps, each of which draws one byte.
        let stop = &whole[starts[first]..starts[first + count]];
        let sampling = Sampling {
            stop: vec![stop.as_bytes().to_vec(), b"never in it, surely".to_vec()],
            ..wild(11, 40)
        };
        let expected = &whole[..whole.find(stop).unwrap()];
        let mut streamed = String::new();
        let text = generate(&model, "a", &sampling, |piece| streamed.push_str(piece)).unwrap();
        assert_eq!((text.as_str(), streamed.as_str()), (expected, expected), "{stop:?}");
    }
    // What only begins like a stop string is handed out in the end.
    let mut almost = whole.as_bytes()[whole.len() - 1..].to_vec();
    almost.extend(b"\xff\xff");
    let sampling = Sampling { stop: vec![almost], ..wild(11, 40) };
    assert_eq!(generate(&model, "a", &sampling, |_| {}).unwrap(), whole);
}

#[test]
fn a_session_says_when_it_has_ended() {
    let model = model(Positions::Rope, &flex());
    let mut session = Session::new(&model, &["ab", "c"], &wild(1, 3)).unwrap();
    // The shorter begins, then both grow, then the longer has one byte to go.
    let grown = std::iter::from_fn(|| session.step(&model).unwrap());
    let grown: Vec<Vec<usize>> =
        grown.map(|pieces| pieces.into_iter().map(|(index, _)| index).collect()).collect();
    assert_eq!(grown, [vec![1], vec![0, 1], vec![0, 1], vec![0]]);
    assert_eq!(session.step(&model).unwrap(), None);
    assert!(Session::new(&model, &[""], &Sampling { top_p: 2.0, ..wild(1, 3) }).is_err());
    let mut empty = Session::new(&model, &["ab"], &wild(1, 0)).unwrap();
    assert_eq!(empty.step(&model).unwrap(), None);
}
