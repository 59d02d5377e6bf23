//! The forward pass of a training step, and the way back.
//!
//! A pass that is recorded keeps of every operation what its gradient needs, so memory grows with the number of blocks.
//! With **gradient checkpointing** (Chen et al., *Training deep nets with sublinear memory cost*, 2016) a block leaves
//! nothing behind but its input. It runs unrecorded, and its results become leaves. On the way back, the last block
//! first, it runs again, recorded, and is differentiated by what the leaves have got. So no more than one block is
//! recorded at a time, and the price is one more forward pass of the blocks. The values are the same, random numbers
//! too; so are the gradients, but for the order of the sum where several blocks share a parameter.

use burn::{
    module::Module,
    tensor::{Gradients, Tensor},
};
use wavecube_core::Result;

use crate::{
    optimizer::{ParameterGradients, plus},
    random::Random,
};

/// What a block leaves.
#[derive(Debug, Clone)]
pub struct Passed<const KINDS: usize> {
    /// The state behind it, `[batch, time, d_model]`.
    pub state: Tensor<3>,
    /// What the loss takes from it besides, by kind, `[1]` each.
    pub terms: [Vec<Tensor<1>>; KINDS],
}

impl From<Tensor<3>> for Passed<0> {
    fn from(state: Tensor<3>) -> Self {
        Self { state, terms: [] }
    }
}

type Run<M> = Box<dyn Fn(&M, Tensor<3>, &mut Random) -> Result<(Tensor<3>, Vec<Tensor<1>>)>>;

/// A block that is to run again.
struct Segment<M> {
    /// What went in.
    input: Tensor<3>,
    /// The random numbers that it began with.
    random: Random,
    run: Run<M>,
    /// The leaves that came out, and the gradients that they have got.
    state: (Tensor<3>, Option<Tensor<3>>),
    terms: Vec<(Tensor<1>, Option<Tensor<1>>)>,
}

impl<M: Module> Segment<M> {
    /// Adds what a backward pass has found for the leaves.
    fn take(&mut self, gradients: &mut Gradients) {
        add(&mut self.state, gradients);
        for term in &mut self.terms {
            add(term, gradients);
        }
    }

    /// Runs the block again and differentiates it by what its leaves have got: the gradients of the parameters and, what
    /// the blocks before wait for, those of what its input was made of.
    fn differentiate(
        self,
        model: &M,
        parameters: &mut ParameterGradients,
    ) -> Result<Option<Gradients>> {
        let Self { input, mut random, run, state: (leaf, gradient), terms } = self;
        drop(leaf);
        let x = as_leaf(input.clone());
        let (state, again) = run(model, x.clone(), &mut random)?;
        // `Σ y · g` has the gradient `g` by `y`.
        let mut weighted = gradient.map(|gradient| (state * gradient).sum());
        for (term, (_, gradient)) in again.into_iter().zip(terms) {
            if let Some(gradient) = gradient {
                weighted = Some(plus(weighted, (term * gradient).sum()));
            }
        }
        let Some(weighted) = weighted else { return Ok(None) };
        let mut gradients = weighted.backward();
        parameters.add(&mut gradients, model);
        let gradient = x.grad_remove(&mut gradients);
        Ok(gradient.filter(|_| input.is_tracked()).map(|gradient| {
            let mut gradients = (input * gradient).sum().backward();
            parameters.add(&mut gradients, model);
            gradients
        }))
    }
}

fn add<const D: usize>(
    (leaf, sum): &mut (Tensor<D>, Option<Tensor<D>>),
    gradients: &mut Gradients,
) {
    if let Some(gradient) = leaf.grad_remove(gradients) {
        *sum = Some(plus(sum.take(), gradient));
    }
}

/// The same values, made by nothing, with a gradient of their own.
fn as_leaf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.inner().autodiff().require_grad()
}

/// What a forward pass of `model` is recorded on.
pub struct Tape<'a, M> {
    model: &'a M,
    /// With checkpoints, the model that is not recorded, and the blocks so far.
    checkpoints: Option<(M, Vec<Segment<M>>)>,
}

impl<'a, M: Module> Tape<'a, M> {
    /// A tape for a pass of `model`, which tracks gradients; with `checkpointing`, blocks run again on the way back.
    pub fn new(model: &'a M, checkpointing: bool) -> Self {
        let checkpoints = checkpointing.then(|| (model.valid(), Vec::new()));
        Self { model, checkpoints }
    }

    /// Runs a block of the model on `x` (`[batch, time, d_model]`). `run` is told the model, and must use nothing else
    /// that tracks gradients; with checkpoints it is called again on the way back, with the same random numbers.
    ///
    /// # Errors
    ///
    /// Those of `run`.
    pub fn block<const KINDS: usize>(
        &mut self,
        x: Tensor<3>,
        random: &mut Random,
        run: impl Fn(&M, Tensor<3>, &mut Random) -> Result<Passed<KINDS>> + 'static,
    ) -> Result<Passed<KINDS>> {
        let Some((unrecorded, segments)) = &mut self.checkpoints else {
            return run(self.model, x, random);
        };
        let before = random.clone();
        let Passed { state, terms } = run(unrecorded, x.clone().inner(), random)?;
        let state = as_leaf(state);
        let terms = terms.map(|kind| kind.into_iter().map(as_leaf).collect::<Vec<_>>());
        segments.push(Segment {
            input: x,
            random: before,
            run: Box::new(move |model, x, random| {
                let Passed { state, terms } = run(model, x, random)?;
                Ok((state, terms.into_iter().flatten().collect()))
            }),
            state: (state.clone(), None),
            terms: terms.iter().flatten().map(|term| (term.clone(), None)).collect(),
        });
        Ok(Passed { state, terms })
    }

    /// The gradients of `total` (`[1]`), which was made on this tape, by the parameters of the model.
    ///
    /// # Errors
    ///
    /// Those of blocks that run again.
    pub fn backward(self, total: Tensor<1>) -> Result<ParameterGradients> {
        let mut parameters = ParameterGradients::default();
        let mut gradients = total.backward();
        drop(total);
        parameters.add(&mut gradients, self.model);
        let mut segments = self.checkpoints.map_or_else(Vec::new, |(_, segments)| segments);
        // What a leaf goes into ran after the block that it came out of, so the last block has all that it will get.
        let mut found = Some(gradients);
        loop {
            if let Some(mut gradients) = found {
                for segment in &mut segments {
                    segment.take(&mut gradients);
                }
            }
            let Some(segment) = segments.pop() else { return Ok(parameters) };
            found = segment.differentiate(self.model, &mut parameters)?;
        }
    }
}
