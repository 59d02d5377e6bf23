//! Checkpoints: one safetensors file with the weights, the optimiser's moments and, in its
//! metadata, the configuration, the step and the state of the random numbers.
//!
//! The file is written beside its destination and renamed over it, so a reader never sees half of
//! one. Weights are named by their path in the model (`model.LctGpt.blocks.0.mlp.up.weight`) and readable
//! by anything that reads safetensors; moments are `optimizer.{matrices,vectors}.{first,second}`.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use burn::{
    module::{Module, ModuleVisitor, Param, Reparameterizer},
    tensor::{Device, Tensor, TensorData},
};
use safetensors::{Dtype, SafeTensors, View, tensor::TensorView};
use serde::{Deserialize, Serialize};
use wavecube_burn::PackedTensor;
use wavecube_core::{
    file,
    polar::{self, ComplexCodes},
    quant::{self, PackedWeight},
};

use crate::{
    config::Config,
    error::{Attempt as _, CheckpointFault, Context as _, Error, Result, WeightFault},
    mixed_precision::LossScale,
    model::{Architecture, Model},
    optimizer::{FlatAdamW, Moments},
    output::write_atomically,
    quantize::{self, QuantizeOptions},
    random::Random,
};

/// The version of the layout described above.
const FORMAT: &str = "2";
/// What the metadata of a quantised checkpoint has.
const QUANTIZED: &str = "wavecube.quantized";
const GROUPS: [&str; 2] = ["matrices", "vectors"];

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps taken.
    pub step: usize,
    /// State of the random numbers that batches are drawn with.
    pub random: u64,
    /// Bytes trained on.
    pub bytes: u64,
    /// Seconds trained for.
    pub seconds: f64,
    /// Steps taken by the optimiser for each of its vectors.
    pub optimizer_time: [Option<usize>; 2],
    /// What the loss is multiplied by, where it is.
    #[serde(default)]
    pub loss_scale: LossScale,
}

/// A checkpoint in memory.
pub struct Checkpoint {
    /// The configuration of the run.
    pub config: Config,
    /// Where the run stood.
    pub progress: Progress,
    quantized: bool,
    path: PathBuf,
    bytes: Vec<u8>,
}

struct Owned {
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Owned {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

impl Owned {
    fn new(name: &str, data: &TensorData) -> Result<Self> {
        let values = data
            .as_slice::<f32>()
            .map_err(|_| Error::weight(name, WeightFault::Dtype(format!("{:?}", data.dtype()))))?;
        Ok(Self {
            shape: data.shape().to_vec(),
            data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        })
    }
}

/// Every float parameter of `module` by its path.
fn weights<M: Module>(module: &M) -> Vec<(String, TensorData)> {
    #[derive(Default)]
    struct Visitor {
        path: Vec<String>,
        weights: Vec<(String, TensorData)>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.weights.push((self.path.join("."), param.val().inner().into_data()));
        }
    }
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    visitor.weights
}

/// Writes a checkpoint to `path`, replacing what was there only when all of it is on disk.
///
/// # Errors
///
/// When the directory cannot be made or the file not written.
pub fn save(
    path: &Path,
    config: &Config,
    progress: &Progress,
    model: &Model,
    optimizer: &FlatAdamW,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, data) in weights(model) {
        let data = Owned::new(&name, &data)?;
        tensors.push((format!("model.{name}"), data));
    }
    let mut progress = progress.clone();
    for (index, moments) in optimizer.moments().into_iter().enumerate() {
        progress.optimizer_time[index] = moments.as_ref().map(|moments| moments.time);
        if let Some(moments) = moments {
            for (moment, data) in [("first", &moments.first), ("second", &moments.second)] {
                let name = format!("optimizer.{}.{moment}", GROUPS[index]);
                let data = Owned::new(&name, data)?;
                tensors.push((name, data));
            }
        }
    }
    let metadata = HashMap::from([
        ("wavecube.format".to_owned(), FORMAT.to_owned()),
        ("wavecube.config".to_owned(), serde_json::to_string(config)?),
        ("wavecube.progress".to_owned(), serde_json::to_string(&progress)?),
    ]);
    let bytes = safetensors::serialize(tensors, Some(metadata))?;
    write_atomically(path, &bytes)
}

impl Checkpoint {
    /// Writes a checkpoint of the same model to `path`, its matrices packed and its filters coded, without what
    /// training needs. Returns the bytes of the model before, and of the file.
    ///
    /// # Errors
    ///
    /// When this one is quantised already, a weight is not finite (it and the index are named), or the file cannot be
    /// written.
    pub fn quantize(&self, path: &Path, options: &QuantizeOptions) -> Result<[usize; 2]> {
        if self.quantized {
            return Err(self.unfit(CheckpointFault::Quantized));
        }
        let tensors = SafeTensors::deserialize(&self.bytes)?;
        let mut parameters = Vec::new();
        for (name, view) in tensors.tensors() {
            if name.starts_with("model.") {
                let values = floats(&name, &view).within(|| self.place())?;
                parameters.push((name, values));
            }
        }
        let slices = parameters.iter().map(|(name, data)| {
            let values = data.as_slice::<f32>().unwrap_or_default();
            (name.as_str(), data.shape().as_slice(), values)
        });
        let slices: Vec<_> = slices.collect();
        let packed = quantize::pack(slices.iter().copied(), options).within(|| self.place())?;
        let filters =
            quantize::code_filters(&slices, options.filter_bits).within(|| self.place())?;
        let (packed_bytes, filter_bytes) = (quant::to_bytes(&packed)?, polar::to_bytes(&filters)?);
        let packed_tensors = SafeTensors::deserialize(&packed_bytes)?;
        let filter_tensors = SafeTensors::deserialize(&filter_bytes)?;
        let filters = filters.into_iter().collect();
        let kept = tensors.tensors().into_iter().filter(|(name, _)| {
            name.starts_with("model.")
                && packed.iter().all(|(other, _)| other != name)
                && quantize::coded_filter(name, &filters).is_none()
        });
        let all = kept.chain(packed_tensors.tensors()).chain(filter_tensors.tensors());
        let (_, header) = SafeTensors::read_metadata(&self.bytes)?;
        let mut metadata = header.metadata().clone().unwrap_or_default();
        metadata.insert(QUANTIZED.to_owned(), "1".to_owned());
        let bytes = safetensors::serialize(all, Some(metadata))?;
        write_atomically(path, &bytes)?;
        Ok([parameters.iter().map(|(_, data)| data.as_bytes().len()).sum(), bytes.len()])
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// When the file is missing, cut short, damaged, has a key twice, or was not written by this program.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).attempting(|| {
            format!(
                "cannot read the checkpoint {}; `wavecube train` writes checkpoint.safetensors \
                 into its --out directory",
                path.display()
            )
        })?;
        let unfit = |fault| Error::Checkpoint { path: path.to_owned(), fault };
        let damaged = |report| unfit(CheckpointFault::Damaged { len: bytes.len(), report });
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        SafeTensors::deserialize(&bytes).map_err(damaged)?;
        if let Some(key) = file::repeated_key(&bytes) {
            return Err(unfit(CheckpointFault::Repeated(key)));
        }
        let metadata = header.metadata().clone().unwrap_or_default();
        let entry = |key: &'static str| {
            metadata.get(key).ok_or_else(|| unfit(CheckpointFault::Foreign(key)))
        };
        let found = entry("wavecube.format")?;
        if found != FORMAT {
            let found = found.clone();
            return Err(unfit(CheckpointFault::Format { found, expected: FORMAT }));
        }
        let inside = || format!("in the configuration inside {}", path.display());
        let config: Config = serde_json::from_str(entry("wavecube.config")?).within(inside)?;
        config.validate().within(inside)?;
        let progress = serde_json::from_str(entry("wavecube.progress")?)
            .within(|| format!("in the progress inside {}", path.display()))?;
        let quantized = metadata.contains_key(QUANTIZED);
        Ok(Self { config, progress, quantized, path: path.to_owned(), bytes })
    }

    /// Checks that this checkpoint continues a run of `config`.
    ///
    /// The text, the number of steps, the intervals, the bits that are trained for, the type of products and gradient
    /// checkpointing may differ; the model, the batches and the optimiser may not.
    ///
    /// # Errors
    ///
    /// Names the first key that differs, with both values.
    pub fn check_resumes(&self, config: &Config) -> Result<()> {
        if self.quantized {
            return Err(self.unfit(CheckpointFault::Untrainable));
        }
        let essential = |config: &Config| -> Result<serde_json::Value> {
            let used = config.model;
            let mut value = serde_json::to_value(config)?;
            let free = [
                "steps",
                "log_every",
                "eval_every",
                "eval_sequences",
                "checkpoint_every",
                "quantize_aware",
                "quantize_group",
                "gradient_checkpointing",
                "precision",
            ];
            if let Some(train) = value.get_mut("train").and_then(|train| train.as_object_mut()) {
                for key in free {
                    train.remove(key);
                }
            }
            if let Some(config) = value.as_object_mut() {
                config.remove("data");
                for model in Architecture::ALL.iter().filter(|model| **model != used) {
                    config.remove(model.key());
                }
            }
            Ok(value)
        };
        let (ours, theirs) = (essential(config)?, essential(&self.config)?);
        if let Some((key, wanted, found)) = first_difference("", &ours, &theirs) {
            return Err(self.unfit(CheckpointFault::Configuration { key, found, wanted }));
        }
        Ok(())
    }

    /// The model with the weights of the checkpoint. Where a device multiplies packed maps, what a quantised checkpoint
    /// has packed stays so: maps, stacks of them and the embedding.
    ///
    /// # Errors
    ///
    /// When a weight is missing, has another shape, or a number that is not finite: it and its index are named.
    pub fn model(&self, device: &Device) -> Result<Model> {
        let tensors = SafeTensors::deserialize(&self.bytes)?;
        let model = Model::new(&self.config, &mut Random::new(0), device)?;
        let packed = if self.quantized { quant::from_bytes(&self.bytes)? } else { Vec::new() };
        let mut loader = Loader {
            tensors: &tensors,
            packed: packed.into_iter().collect(),
            filters: polar::from_bytes(&self.bytes)?.into_iter().collect(),
            keeps_packed: wavecube_burn::multiplies_packed(device),
            failure: None,
        };
        let model = model.apply_reparameterization(&mut loader);
        match loader.failure {
            Some(failure) => Err(failure).within(|| self.place()),
            None => Ok(model),
        }
    }

    /// The optimiser with its moments.
    ///
    /// # Errors
    ///
    /// When they are missing, do not belong to `model`, or have a number that is not finite.
    pub fn optimizer(&self, model: &Model, device: &Device) -> Result<FlatAdamW> {
        let tensors = SafeTensors::deserialize(&self.bytes)?;
        let mut optimizer = FlatAdamW::new(&self.config.train);
        let mut moments = [None, None];
        for (index, time) in self.progress.optimizer_time.into_iter().enumerate() {
            if let Some(time) = time {
                let read = |moment| {
                    let name = format!("optimizer.{}.{moment}", GROUPS[index]);
                    let view = tensors.tensor(&name);
                    view.map_err(|_| Error::weight(&name, WeightFault::Missing))
                        .and_then(|view| floats(&name, &view))
                        .within(|| self.place())
                };
                moments[index] =
                    Some(Moments { first: read("first")?, second: read("second")?, time });
            }
        }
        optimizer.restore(moments, model, device).within(|| self.place())?;
        Ok(optimizer)
    }

    fn unfit(&self, fault: CheckpointFault) -> Error {
        Error::Checkpoint { path: self.path.clone(), fault }
    }

    fn place(&self) -> String {
        format!("in the checkpoint {}", self.path.display())
    }
}

/// The first leaf at which two configurations differ: key, value here, value there.
fn first_difference(
    key: &str,
    ours: &serde_json::Value,
    theirs: &serde_json::Value,
) -> Option<(String, String, String)> {
    match (ours.as_object(), theirs.as_object()) {
        (Some(a), Some(b)) => a.keys().chain(b.keys()).find_map(|name| {
            let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            let null = serde_json::Value::Null;
            first_difference(&path, a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null))
        }),
        _ if ours != theirs => Some((key.to_owned(), ours.to_string(), theirs.to_string())),
        _ => None,
    }
}

/// The index on every axis of the number at `flat`.
fn place(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&len| {
            let at = flat % len;
            flat /= len;
            at
        })
        .collect();
    index.reverse();
    index
}

/// The numbers of a tensor, all of them finite: what is not would reach every result of the model.
fn floats(name: &str, view: &TensorView<'_>) -> Result<TensorData> {
    if view.dtype() != Dtype::F32 {
        return Err(Error::weight(name, WeightFault::Dtype(format!("{:?}", view.dtype()))));
    }
    let values: Vec<f32> =
        view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if let Some(first) = values.iter().position(|value| !value.is_finite()) {
        let (index, shape) = (place(first, view.shape()), view.shape().to_vec());
        let fault = WeightFault::NotFinite { value: values[first], index, shape };
        return Err(Error::weight(name, fault));
    }
    Ok(TensorData::new(values, view.shape().to_vec()))
}

struct Loader<'a> {
    tensors: &'a SafeTensors<'a>,
    packed: HashMap<String, PackedWeight>,
    filters: HashMap<String, ComplexCodes>,
    keeps_packed: bool,
    failure: Option<Error>,
}

impl Loader<'_> {
    /// The numbers of a parameter.
    fn read(&self, name: &str, shape: &[usize]) -> Result<TensorData> {
        if let Some(weight) = self.packed.get(name) {
            return Ok(TensorData::new(quantize::unpack(name, weight, shape)?, shape));
        }
        if let Some(codes) = quantize::coded_filter(name, &self.filters) {
            return Ok(TensorData::new(quantize::filter_part(name, codes, shape)?, shape));
        }
        let view = self.tensors.tensor(name);
        let view = view.map_err(|_| Error::weight(name, WeightFault::Missing))?;
        if view.shape() != shape {
            let (found, expected) = (view.shape().to_vec(), shape.to_vec());
            return Err(Error::weight(name, WeightFault::Shape { found, expected }));
        }
        floats(name, &view)
    }
}

impl Reparameterizer for &mut Loader<'_> {
    type Reparam = PackedTensor;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<PackedTensor>) {
        let name = format!("model.{path}");
        let shape = param.shape().to_vec();
        let weight = self.packed.get(&name).filter(|_| self.keeps_packed);
        if let Some(weight) = weight.filter(|weight| quantize::fits(weight, &shape)) {
            let packed = PackedTensor::upload(weight, &param.device());
            // What is left of the numbers tells how many maps a stack has.
            let left: [usize; D] = std::array::from_fn(|i| if i + 2 < D { shape[i] } else { 0 });
            return (param.map(|old| Tensor::empty(left, &old.device())), Some(packed));
        }
        match self.read(&name, &shape) {
            Ok(data) => {
                let loaded = param.map(|old| {
                    let new = Tensor::from_data(data, &old.device());
                    if old.is_autodiff() { new.require_grad() } else { new }
                });
                (loaded, None)
            }
            Err(failure) => {
                self.failure.get_or_insert(failure);
                (param, None)
            }
        }
    }
}
