//! What the tests share: texts, weights and gradients of models, and what the tests of the operations have.

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Gradients, Int, Tensor, TensorData},
};
use wavecube_burn::CacheType;
use wavecube_models::{layers::Room, presets::Preset, random::Random};

#[path = "../burn/tests/support.rs"]
mod operations;

pub(crate) use operations::*;

/// Room for texts, as they are.
pub(crate) fn room(texts: usize, positions: usize) -> Room {
    Room { texts, positions, cache: CacheType::F32 }
}

/// The preset of a name.
#[track_caller]
pub(crate) fn preset(name: &str) -> Preset {
    Preset::named(name).expect("a preset")
}

/// One sequence of bytes.
pub(crate) fn bytes(values: &[i32], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), device)
}

/// Random bytes.
pub(crate) fn text(seed: u64, len: usize) -> Vec<i32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.below(256) as i32).collect()
}

/// Gradients of all parameters by their path; those that the loss does not reach are left out.
pub(crate) fn gradients<M: Module>(module: &M, gradients: &Gradients) -> HashMap<String, Vec<f64>> {
    struct Visitor<'a>(Vec<String>, &'a Gradients, HashMap<String, Vec<f64>>);
    impl ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.1) {
                self.2.insert(self.0.join("."), read(gradient));
            }
        }
    }
    let mut visitor = Visitor(Vec::new(), gradients, HashMap::new());
    module.visit(&mut visitor);
    visitor.2
}

/// Every weight by its path.
pub(crate) fn weights<M: Module>(module: &M) -> HashMap<String, TensorData> {
    #[derive(Default)]
    struct Visitor(Vec<String>, HashMap<String, TensorData>);
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.insert(self.0.join("."), param.val().into_data());
        }
    }
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    visitor.1
}

/// `module` with the weights that `of` finds for their paths.
pub(crate) fn with_weights<M: Module>(module: M, of: &dyn Fn(&str) -> TensorData) -> M {
    struct Mapper<'a>(Vec<String>, &'a dyn Fn(&str) -> TensorData);
    impl ModuleMapper for Mapper<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.0.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let data = (self.1)(&self.0.join("."));
            param.map(|old| {
                let new = Tensor::from_data(data, &old.device());
                new.set_require_grad(old.is_require_grad())
            })
        }
    }
    module.map(&mut Mapper(Vec::new(), of))
}
