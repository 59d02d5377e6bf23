//! Generation: what a state gives is what the whole text gives, stops, and many texts at once.

use burn::module::Module as _;
use wavecube_models::{
    config::Config,
    generate::{Sampling, Session, generate, generate_all},
    lct_gpt::{ModelConfig, Placement, Positions},
    model::{Architecture, Model},
    random::Random,
};

use crate::support::{bytes, close, flex, read, text, wgpu};

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

#[test]
fn a_state_gives_what_the_whole_text_gives() {
    for device in [Some(flex()), wgpu()].into_iter().flatten() {
        for positions in [Positions::Rope, Positions::Learned] {
            let model = model(positions, &device);
            let text = text(3, CONTEXT);
            let whole = read(model.forward(bytes(&text, &device)).unwrap());
            for cut in [1, 2, 7] {
                let mut past = model.begin().unwrap().unwrap();
                for (step, part) in text.chunks(cut).enumerate() {
                    let found = read(model.advance(bytes(part, &device), &mut past).unwrap());
                    let last = (step * cut + part.len() - 1) * 256;
                    close(&found, &whole[last..last + 256], 4e-6);
                }
                assert_eq!(past.len(), CONTEXT);
                assert!(model.advance(bytes(&[1], &device), &mut past).is_err());
                assert_eq!(past.len(), CONTEXT);
            }
        }
    }
}

fn wild(seed: u64, length: usize) -> Sampling {
    Sampling { temperature: 2.0, top_k: 0, seed, length, ..Sampling::default() }
}

/// Sixty-four texts of mixed prompts, longer than the context, each as it is alone.
#[test]
fn texts_side_by_side_are_those_alone() {
    let model = model(Positions::Rope, &flex());
    let prompts: Vec<String> = (0..64).map(|i| "prompt ".repeat(i % 9)).collect();
    let sampling = wild(7, 12);
    let together = generate_all(&model, &prompts, &sampling).unwrap();
    for (i, (prompt, text)) in prompts.iter().zip(together).enumerate() {
        let alone = generate(&model, prompt, &wild(7 + i as u64, 12), |_| {}).unwrap();
        assert_eq!(alone, text, "prompt {i}");
        assert_eq!(text.len(), 12);
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
    let mut session = Session::new(&model, "ab", &wild(1, 3)).unwrap();
    let pieces = std::iter::from_fn(|| session.step(&model).unwrap()).count();
    assert_eq!(pieces, 3);
    assert_eq!(session.step(&model).unwrap(), None);
    assert!(Session::new(&model, "", &Sampling { top_p: 2.0, ..wild(1, 3) }).is_err());
}
