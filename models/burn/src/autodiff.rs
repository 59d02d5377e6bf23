//! Gradients: every operation of the table is one node of Burn's graph, whose backward pass is another operation of
//! the table.

use burn::backend::{
    Autodiff, AutodiffBackend, Backend, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::FloatTensor,
};
use wavecube_core::{Error, Result};

use crate::{
    operation::{Bridge, Op},
    tensors::{Codes, Numbers, Outcome},
};

#[derive(Debug)]
struct Node;

/// What waits for the gradient of a result.
#[derive(Debug, Clone)]
struct Waiting<B: Backend> {
    kept: Vec<FloatTensor<B>>,
    codes: Codes<B>,
    /// The operation, for messages, and that of its gradients.
    name: &'static str,
    vjp: Op,
}

impl<B: Bridge, const N: usize> Backward<B, N> for Node {
    type State = Waiting<B>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Waiting { mut kept, codes, name, vjp } = ops.state;
        kept.push(grads.consume::<B>(&ops.node));
        let gradients = B::run(Numbers::new(kept), codes, vjp).into_result();
        // Burn's backward pass has no errors.
        let gradients = gradients.unwrap_or_else(|error| panic!("the gradient of {name}: {error}"));
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: Bridge, C: CheckpointStrategy> Bridge for Autodiff<B, C> {
    fn run(operands: Numbers<Self>, codes: Codes<Self>, op: Op) -> Outcome<Self> {
        let operands = operands.into_vec();
        let codes = Codes::new(codes.into_vec());
        match operands.len() {
            1 => tracked::<B, C, 1>(operands, codes, &op),
            2 => tracked::<B, C, 2>(operands, codes, &op),
            3 => tracked::<B, C, 3>(operands, codes, &op),
            4 => tracked::<B, C, 4>(operands, codes, &op),
            5 => tracked::<B, C, 5>(operands, codes, &op),
            _ => tracked::<B, C, 6>(operands, codes, &op),
        }
        .into()
    }
}

/// The first result belongs to the graph, the others are constants.
fn tracked<B: Bridge, C: CheckpointStrategy, const N: usize>(
    operands: Vec<FloatTensor<Autodiff<B, C>>>,
    codes: Codes<B>,
    op: &Op,
) -> Result<Vec<FloatTensor<Autodiff<B, C>>>> {
    let operands: [_; N] = operands.try_into().unwrap_or_else(|_| unreachable!("counted before"));
    let nodes = operands.each_ref().map(FloatTensor::<Autodiff<B, C>>::node);
    let shapes = operands.each_ref().map(|operand| operand.shape().to_vec());
    let operands = operands.map(FloatTensor::<Autodiff<B, C>>::into_primitive);
    let results =
        B::run(Numbers::new(operands.clone()), codes.clone(), op.clone()).into_result()?;
    let step = Node.prepare::<C>(nodes).compute_bound().stateful();
    let first = match step {
        OpsKind::Tracked(prep) => {
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            let vjp = op.vjp(&shapes).ok_or(Error::Unsupported {
                op: op.name(),
                argument: "operands",
                reason: "gradients of gradients have none",
            })?;
            let kept = op.kept();
            let kept = (kept.operands.iter().map(|&at| operands[at].clone()))
                .chain(kept.results.iter().map(|&at| results[at].clone()))
                .collect();
            let waiting = Waiting { kept, codes, name: op.name(), vjp };
            prep.finish(waiting, results[0].clone())
        }
        OpsKind::UnTracked(prep) => prep.finish(results[0].clone()),
    };
    let others = results.into_iter().skip(1).map(Autodiff::<B, C>::from_inner);
    Ok(std::iter::once(first).chain(others).collect())
}
