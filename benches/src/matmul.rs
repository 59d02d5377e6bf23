//! Products by cubek-matmul: in floats, and with symmetric codes of 4 or 8 bits in blocks of up to 128.

use cubecl::{
    ir::ElemType,
    prelude::*,
    quant::scheme::{QuantMode, QuantScheme, QuantStore, QuantValue, ScaleDtype},
    std::tensor::TensorHandle,
    zspace::Shape,
};
use cubek_matmul::{
    definition::{MatmulElems, MatmulGlobalElems},
    launch::launch_ref,
    multi_level,
    routine::BlueprintStrategy,
    strategy::Strategy,
};
use cubek_std::InputBinding;
use wavecube::{Device, Dtype, Layout, Tensor};

use crate::turns::{Contestant, by_turns};

/// Weights that share a scale: the first that divides a row.
const BLOCKS: [usize; 3] = [128, 64, 32];

/// The quickest of its kernels that any device has, of `m` rows with a weight of `n` outputs and `k` inputs, of which
/// each output's lie together, as in ours: for floats, then for codes, where the shape has whole blocks.
pub(crate) fn peers(device: &Device, [m, n, k]: [usize; 3], bits: u32) -> Vec<Contestant> {
    let floats = float_peer(device, [m, n, k]);
    let block = BLOCKS.into_iter().find(|&block| k.is_multiple_of(block));
    let codes = block.and_then(|block| {
        quickest(device, [m, n, k], &format!("with {bits} bits"), || {
            quantised(device, [n, k], bits, block)
        })
    });
    floats.into_iter().chain(codes).collect()
}

/// The same, for floats.
pub(crate) fn float_peer(device: &Device, [m, n, k]: [usize; 3]) -> Option<Contestant> {
    quickest(device, [m, n, k], "in f32", || {
        let weight = tensor(device, [n, k], f32::elem_type_native(), &vec![1.0f32; n * k]);
        InputBinding::new(weight.binding(), f32::elem_type_native())
    })
}

fn tensor<T: CubeElement>(
    device: &Device,
    shape: [usize; 2],
    dtype: ElemType,
    values: &[T],
) -> TensorHandle {
    let handle = device.client().create_from_slice(T::as_bytes(values));
    TensorHandle::new_contiguous(Shape::from(shape.to_vec()), handle, dtype)
}

/// A weight whose codes and scales are 1.
fn quantised(device: &Device, [n, k]: [usize; 2], bits: u32, block: usize) -> InputBinding {
    let (value, word) = match bits {
        4 => (QuantValue::Q4S, 0x1111_1111u32),
        _ => (QuantValue::Q8S, 0x0101_0101),
    };
    let scheme = QuantScheme::default()
        .with_mode(QuantMode::Symmetric)
        .per_block([block as u8], ScaleDtype::F32)
        .with_value(value)
        .with_store(QuantStore::PackedU32(0));
    let words = k * bits as usize / 32;
    let (data_dtype, scale_dtype) = (u32::elem_type_native(), f32::elem_type_native());
    InputBinding::Quantized {
        data: tensor(device, [n, words], data_dtype, &vec![word; n * words]).binding(),
        data_dtype,
        scale: tensor(device, [n, k / block], scale_dtype, &vec![1.0f32; n * k / block]).binding(),
        scale_dtype,
        shape: Shape::from(vec![n, k]),
        scheme,
    }
}

fn quickest(
    device: &Device,
    [m, n, k]: [usize; 3],
    what: &str,
    weight: impl Fn() -> InputBinding,
) -> Option<Contestant> {
    let f32_type = f32::elem_type_native();
    let x = tensor(device, [m, k], f32_type, &vec![1.0f32; m * k]);
    let mut weight = weight();
    weight.swap_dims(0, 1);
    let mut strategies = vec![
        ("simple", multi_level::Strategy::SimpleUnit(BlueprintStrategy::default())),
        ("naive", multi_level::Strategy::Naive),
    ];
    // cubek-matmul 0.3.1 panics in the launch of its gemv for codes; another, `tiled::quant_gemv`, adds up with
    // operations of planes, which not every device has.
    if matches!(weight, InputBinding::Normal(..)) {
        let gemv = multi_level::Strategy::GemvUnitPerpendicular(BlueprintStrategy::default());
        strategies.push(("gemv", gemv));
    }
    let right = strategies.into_iter().filter_map(|(name, strategy)| {
        let strategy = Strategy::MultiLevel(strategy);
        let out = tensor(device, [m, n], f32_type, &vec![f32::NAN; m * n]);
        let layout = Layout::contiguous(&[m, n]);
        let last =
            Tensor::from_handle(device, out.handle.clone(), Dtype::F32, false, layout).ok()?;
        let (client, x, weight) = (device.client().clone(), x.clone(), weight.clone());
        let launch = move || {
            let mut types = MatmulElems::from_globals(&MatmulGlobalElems {
                lhs: f32_type,
                rhs: f32_type,
                out: f32_type,
            });
            let x = InputBinding::new(x.clone().binding(), f32_type);
            let out = out.clone().binding();
            launch_ref(&strategy, &client, x, weight.clone(), out, &mut types)
        };
        let name = format!("cubek-matmul {what}, {name}");
        launch().inspect_err(|error| eprintln!("{name}: {error:?}")).ok()?;
        // One that the device cannot run leaves NaN.
        if last.read::<f32>().ok()?.iter().any(|v| *v != k as f32) {
            eprintln!("{name}: not the product");
            return None;
        }
        Some(Contestant::new(name, move || {
            launch().expect("it ran before");
            last.clone()
        }))
    });
    let mut right: Vec<_> = right.collect();
    let seconds = by_turns(&mut right);
    right.into_iter().zip(seconds).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(quickest, _)| quickest)
}
