//! A Burn program that trains a small mixer on wavecube's kernels: a filter of the spectrum along the sequence, then
//! complex channels mixed by magnitude and phase. It learns to delay its input by one position.
//!
//! `cargo run --release --package wavecube-burn --example mixer`

use burn::{
    module::{Module, Param},
    optim::{AdamConfig, GradientsParams},
    tensor::{Device, Distribution, Tensor},
};
use wavecube_burn::{phase_mix, spectral_filter};

const CHANNELS: usize = 4;
const POSITIONS: usize = 64;

#[derive(Module, Debug)]
struct Mixer {
    filter: Param<Tensor<4>>,
    magnitudes: Param<Tensor<2>>,
    directions: Param<Tensor<3>>,
}

impl Mixer {
    fn new(device: &Device) -> Self {
        let near_one = Distribution::Normal(1.0, 0.1);
        let identity = Tensor::<2>::eye(CHANNELS, device);
        let noise = Tensor::random([CHANNELS, CHANNELS, 2], Distribution::Normal(0.0, 0.1), device);
        Self {
            filter: Param::from_tensor(Tensor::random(
                [1, CHANNELS, POSITIONS, 2],
                near_one,
                device,
            )),
            magnitudes: Param::from_tensor(identity.clone()),
            directions: Param::from_tensor(noise + identity.unsqueeze_dim::<3>(2)),
        }
    }

    /// `[batch, channels, positions, 2]` to the same shape.
    fn forward(&self, x: Tensor<4>) -> wavecube_core::Result<Tensor<4>> {
        let y = spectral_filter(x, self.filter.val())?.swap_dims(1, 2);
        let z = phase_mix(y, self.magnitudes.val(), self.directions.val(), 1e-4)?;
        Ok(z.swap_dims(1, 2))
    }
}

fn main() -> wavecube_core::Result<()> {
    let device = Device::default().autodiff();
    let mut mixer = Mixer::new(&device);
    let mut optimizer = AdamConfig::new().init();
    for step in 1..=200 {
        let shape = [16, CHANNELS, POSITIONS, 2];
        let x = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let delayed = x.clone().roll_dim(1, 2);
        let loss = (mixer.forward(x)? - delayed).square().mean();
        if step % 50 == 0 {
            println!("step {step}: loss {:.4}", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &mixer);
        mixer = optimizer.step(0.03, mixer, gradients);
    }
    Ok(())
}
