//! The vector-Jacobian products, registered with Burn's autodiff.
//!
//! A linear map needs nothing saved for its backward pass: the gradient of `x` is the adjoint of the
//! map applied to the gradient of `y`. Only the gradient of a parameter needs `x` itself.

use burn::backend::{
    Autodiff, AutodiffBackend, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind, unary},
    },
    tensor::{FloatTensor, IntTensor},
};
use wavecube_core::fft::Normalization;

use super::{
    AttentionBackend, Bias, ConvolutionBackend, ElementaryBackend, FftBackend, LctBackend, LctPlan,
    LossBackend, PackedFormat, QmatmulBackend, Sides, TridiagBackend,
};

#[derive(Debug)]
struct Fft;

impl<B: FftBackend> Backward<B, 1> for Fft {
    type State = (bool, Normalization);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (inverse, normalization) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::fft(grad, !inverse, normalization.adjoint())
        });
    }
}

#[derive(Debug)]
struct Rfft;

impl<B: FftBackend> Backward<B, 1> for Rfft {
    type State = (usize, Normalization);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (n, normalization) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::rfft_vjp(grad, n, normalization));
    }
}

#[derive(Debug)]
struct Irfft;

impl<B: FftBackend> Backward<B, 1> for Irfft {
    type State = Normalization;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let normalization = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::irfft_vjp(grad, normalization));
    }
}

impl<B: FftBackend, C: CheckpointStrategy> FftBackend for Autodiff<B, C> {
    fn fft(x: FloatTensor<Self>, inverse: bool, normalization: Normalization) -> FloatTensor<Self> {
        let node = x.node();
        let y = B::fft(x.into_primitive(), inverse, normalization);
        match Fft.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inverse, normalization), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn rfft(x: FloatTensor<Self>, normalization: Normalization) -> FloatTensor<Self> {
        let node = x.node();
        let shape = x.shape();
        let n = shape[shape.rank() - 1];
        let y = B::rfft(x.into_primitive(), normalization);
        match Rfft.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((n, normalization), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn irfft(x: FloatTensor<Self>, n: usize, normalization: Normalization) -> FloatTensor<Self> {
        let node = x.node();
        let y = B::irfft(x.into_primitive(), n, normalization);
        match Irfft.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(normalization, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    // The adjoints keep the trait's plain bodies here, which are differentiable operations
    // themselves: only a second derivative ever reaches them. (That of a resolvent is not.)
}

#[derive(Debug)]
struct Lct;

impl<B: LctBackend> Backward<B, 2> for Lct {
    type State = (FloatTensor<B>, LctPlan);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, parameters_node] = ops.parents;
        let (x, plan) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (grad_x, grad_parameters) = B::lct_vjp(x, grad, plan);
        if let Some(node) = x_node {
            grads.register::<B>(node.id, grad_x);
        }
        if let Some(node) = parameters_node {
            grads.register::<B>(node.id, grad_parameters);
        }
    }
}

impl<B: LctBackend, C: CheckpointStrategy> LctBackend for Autodiff<B, C> {
    fn lct(
        x: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        plan: LctPlan,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), parameters.node()];
        let x = x.into_primitive();
        let parameters = parameters.into_primitive();
        match Lct.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::lct(x.clone(), parameters, plan.clone());
                prep.finish((x, plan), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::lct(x, parameters, plan)),
        }
    }
}

#[derive(Debug)]
struct Resolvent;

impl<B: TridiagBackend> Backward<B, 2> for Resolvent {
    type State = (FloatTensor<B>, FloatTensor<B>, Sides);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (kept, p, sides) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (by_d, by_p) = B::resolvent_vjp(kept, p, grad, sides);
        for (node, gradient) in ops.parents.into_iter().zip([by_d, by_p]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: TridiagBackend, C: CheckpointStrategy> TridiagBackend for Autodiff<B, C> {
    fn resolvent(d: FloatTensor<Self>, p: FloatTensor<Self>, sides: Sides) -> FloatTensor<Self> {
        let nodes = [d.node(), p.node()];
        let (d, p) = (d.into_primitive(), p.into_primitive());
        match Resolvent.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::resolvent(d.clone(), p.clone(), sides);
                let kept = if sides == Sides::Both { d } else { y.clone() };
                prep.finish((kept, p, sides), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::resolvent(d, p, sides)),
        }
    }
}

#[derive(Debug)]
struct Convolution;

impl<B: ConvolutionBackend> Backward<B, 2> for Convolution {
    type State = [FloatTensor<B>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x, h] = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (by_x, by_h) = B::causal_convolution_vjp(x, h, grad);
        for (node, gradient) in ops.parents.into_iter().zip([by_x, by_h]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: ConvolutionBackend, C: CheckpointStrategy> ConvolutionBackend for Autodiff<B, C> {
    fn causal_convolution(x: FloatTensor<Self>, h: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), h.node()];
        let (x, h) = (x.into_primitive(), h.into_primitive());
        match Convolution.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::causal_convolution(x.clone(), h.clone());
                prep.finish([x, h], y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::causal_convolution(x, h)),
        }
    }
}

#[derive(Debug)]
struct Attention;

impl<B: AttentionBackend> Backward<B, 3> for Attention {
    /// Queries, keys, values, the result, its log-sum-exp; and the bias.
    type State = ([FloatTensor<B>; 5], Bias);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ([q, k, v, out, lse], bias) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (by_q, by_k, by_v) = B::causal_attention_vjp(q, k, v, out, lse, grad, bias);
        for (node, gradient) in ops.parents.into_iter().zip([by_q, by_k, by_v]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: AttentionBackend, C: CheckpointStrategy> AttentionBackend for Autodiff<B, C> {
    /// The log-sum-exp is not differentiated.
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: Bias,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [q.node(), k.node(), v.node()];
        let (q, k, v) = (q.into_primitive(), k.into_primitive(), v.into_primitive());
        let (out, lse) = B::causal_attention(q.clone(), k.clone(), v.clone(), bias);
        let constant = Self::from_inner(lse.clone());
        let tracked = match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(([q, k, v, out.clone(), lse], bias), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        };
        (tracked, constant)
    }
}

#[derive(Debug)]
struct Qmatmul;

impl<B: QmatmulBackend> Backward<B, 1> for Qmatmul {
    /// Words, scales and zero points of the weight, and what they mean.
    type State = ([IntTensor<B>; 3], PackedFormat);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ([words, scales, zeros], format) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::qmatmul_vjp(grad, words, scales, zeros, format)
        });
    }
}

impl<B: QmatmulBackend, C: CheckpointStrategy> QmatmulBackend for Autodiff<B, C> {
    fn qmatmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: IntTensor<Self>,
        zeros: IntTensor<Self>,
        format: PackedFormat,
    ) -> FloatTensor<Self> {
        let node = x.node();
        let y =
            B::qmatmul(x.into_primitive(), words.clone(), scales.clone(), zeros.clone(), format);
        match Qmatmul.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(([words, scales, zeros], format), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct Logistic;

impl<B: ElementaryBackend> Backward<B, 1> for Logistic {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            // σ(x) σ(−x): 1 − σ(x) would lose its digits where σ is next to 1.
            let slope = B::float_mul(B::logistic(x.clone()), B::logistic(B::float_neg(x)));
            B::float_mul(grad, slope)
        });
    }
}

#[derive(Debug)]
struct Softplus;

impl<B: ElementaryBackend> Backward<B, 1> for Softplus {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::float_mul(grad, B::logistic(x)));
    }
}

impl<B: ElementaryBackend, C: CheckpointStrategy> ElementaryBackend for Autodiff<B, C> {
    fn logistic(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = x.node();
        let x = x.into_primitive();
        match Logistic.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x.clone(), B::logistic(x)),
            OpsKind::UnTracked(prep) => prep.finish(B::logistic(x)),
        }
    }

    fn softplus(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = x.node();
        let x = x.into_primitive();
        match Softplus.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x.clone(), B::softplus(x)),
            OpsKind::UnTracked(prep) => prep.finish(B::softplus(x)),
        }
    }
}

#[derive(Debug)]
struct CrossEntropy;

impl<B: LossBackend> Backward<B, 1> for CrossEntropy {
    type State = (FloatTensor<B>, IntTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (logits, targets) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::cross_entropy_vjp(logits, targets, grad)
        });
    }
}

impl<B: LossBackend, C: CheckpointStrategy> LossBackend for Autodiff<B, C> {
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let node = logits.node();
        let logits = logits.into_primitive();
        match CrossEntropy.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let nats = B::cross_entropy(logits.clone(), targets.clone());
                prep.finish((logits, targets), nats)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::cross_entropy(logits, targets)),
        }
    }
}
