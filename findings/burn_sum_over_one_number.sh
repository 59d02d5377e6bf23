#!/usr/bin/env bash
# Burn 0.22.1 with burn-cubecl 0.22.1 and cubek-reduce 0.3.1, on wgpu (any Vulkan driver).
#
# A sum along an axis of one number leaves a tensor as it is. Where the other axes of the tensor are swapped, the device
# gives its numbers in another order, neither theirs nor that of memory: 0 1 4 5 2 3 for 0 2 4 1 3 5. So do mean_dim and
# max_dim. The gradient of sum_dim is such a sum, so it is wrong, silently, wherever it comes from behind a swap of axes.
# Flex is right.
# Needs Rust, cc, and a Vulkan driver such as Debian's mesa-vulkan-drivers; compiles Burn for some minutes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "sum-over-one-number"
version = "0.1.0"
edition = "2024"

[dependencies]
burn = { version = "=0.22.1", default-features = false, features = ["std", "flex", "wgpu", "autodiff"] }
burn-cubecl = { version = "=0.22.1", default-features = false }
cubek-reduce = { version = "=0.3.1", default-features = false }
TOML
cat >"$folder/src/main.rs" <<'RUST'
use burn::tensor::{Device, DeviceType, Tensor, TensorData};

fn numbers(device: &Device, shape: [usize; 3]) -> Tensor<3> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn read<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Along an axis of one number in front of axes that are swapped: as it is, the sum, the mean, the largest.
fn along_one(device: &Device) -> [Vec<f32>; 4] {
    let x = numbers(device, [2, 3, 2]).swap_dims(1, 2).unsqueeze_dim::<4>(1);
    [read(x.clone()), read(x.clone().sum_dim(1)), read(x.clone().mean_dim(1)), read(x.max_dim(1))]
}

/// The gradient of the sum along axis 1 of ones, from behind a swap.
fn gradient(device: &Device) -> Vec<f32> {
    let device = device.clone().autodiff();
    let x = Tensor::<4>::ones([2, 2, 2, 3], &device).require_grad();
    let y = x.clone().sum_dim(1).squeeze_dim::<3>(1).swap_dims(1, 2);
    let loss = (y * numbers(&device, [2, 3, 2])).sum();
    read(x.grad(&loss.backward()).unwrap())
}

fn main() {
    let wgpu = Device::enumerate(DeviceType::Wgpu).into_iter().next().expect("a Vulkan driver");
    let [flex, found] = [Device::flex(), wgpu].map(|device| (along_one(&device), gradient(&device)));
    println!("before: {:?}", flex.0[0]);
    for (name, at) in [("sum", 1), ("mean", 2), ("max", 3)] {
        println!("{name}, flex: {:?}", flex.0[at]);
        println!("{name}, wgpu: {:?}", found.0[at]);
        assert_eq!(flex.0[at], flex.0[0]);
        assert_ne!(found.0[at], flex.0[0]);
    }
    assert_eq!(found.0[0], flex.0[0]);
    println!("gradient, flex: {:?}", flex.1);
    println!("gradient, wgpu: {:?}", found.1);
    assert_ne!(found.1, flex.1);
}
RUST
cd "$folder"
XDG_RUNTIME_DIR="$folder" cargo run --quiet
