//! What Burn's graph does with the operations' gradients.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Tensor};
use wavecube_burn::{Attention, Normalization, attention, fft};

use crate::support::{devices, read, tensor, values};

/// A gradient has left the graph: whoever asks for its gradient hears so, and in another graph it is a constant.
#[test]
fn gradients_have_no_gradients() {
    for device in devices() {
        let tracked = device.clone().autodiff();
        let x: Tensor<2> = tensor(&values(8, 1), [4, 2], DType::F32, &tracked).require_grad();
        let y = fft(x.clone(), Normalization::Ortho).unwrap();
        let by_x = x.grad(&y.clone().mul(y).sum().backward()).unwrap();
        assert_eq!(by_x.device(), device);
        assert!(!by_x.is_require_grad());
        let refused = catch_unwind(AssertUnwindSafe(|| by_x.clone().sum().backward()));
        let refused = refused.err().expect("a gradient was differentiated");
        let message = refused.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(message.contains("requires a tracked autodiff tensor"), "{message}");
        let leaf = by_x.autodiff().require_grad();
        let again = fft(leaf.clone(), Normalization::Ortho).unwrap().sum().backward();
        assert!(x.grad(&again).is_none());
        assert!(leaf.grad(&again).is_some());
    }
}

/// Operands that are not learned have no gradients, and change nothing of those of the others.
#[test]
fn operands_may_be_constants() {
    for device in devices() {
        let device = device.autodiff();
        let of = |index: u64| tensor(&values(24, index), [1, 2, 3, 4], DType::F32, &device);
        let gradients = |learned: [bool; 3]| {
            let [q, k, v] = [0, 1, 2].map(|index| {
                let x = of(index as u64 + 1);
                if learned[index] { x.require_grad() } else { x }
            });
            let options = Attention::causal();
            let y = attention(q.clone(), k.clone(), v.clone(), &options).unwrap();
            let gradients = (y * of(4)).sum().backward();
            [q, k, v].map(|x| x.grad(&gradients).map(read))
        };
        let all = gradients([true; 3]);
        for (index, by) in all.iter().enumerate() {
            let one = gradients([0, 1, 2].map(|other| other == index));
            for (other, alone) in one.into_iter().enumerate() {
                let expected = if other == index { by.clone() } else { None };
                assert_eq!(alone, expected);
            }
        }
    }
}
