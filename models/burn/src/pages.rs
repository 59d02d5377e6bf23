//! Keys and values in pages, under Burn tensors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::{
    backend::TensorMetadata,
    tensor::{DType, FloatDType, Tensor},
};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use wavecube::{CacheStorage, KvCache, KvCacheConfig, Rotary, SequenceId, Step};
use wavecube_core::{DeviceFault, Dtype, Error, Result};

use crate::{
    Attention, ROTARY_BASE,
    cache::{CacheConfig, CacheType, elsewhere},
    counts, cube,
};

/// Positions of a page.
const PAGE: usize = 16;

/// Texts whose keys and values lie in pages.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    memory: Arc<Memory>,
    /// What several pasts share is forked by the first of them that goes on.
    texts: Vec<Arc<Text>>,
    step: Option<Step>,
}

#[derive(Debug)]
struct Memory {
    cache: Mutex<KvCache>,
    rotary: Option<Rotary>,
    dtype: FloatDType,
}

/// A sequence of the cache, which ends with it.
#[derive(Debug)]
struct Text {
    memory: Arc<Memory>,
    sequence: SequenceId,
}

impl Memory {
    fn cache(&self) -> MutexGuard<'_, KvCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Text {
    fn fork(&self) -> Result<Arc<Self>> {
        let sequence = self.memory.cache().fork(self.sequence)?;
        Ok(Arc::new(Self { memory: self.memory.clone(), sequence }))
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // It ends here alone, so it has not ended before.
        let _ = self.memory.cache().free(self.sequence);
    }
}

/// Tensors of another backend than the cache.
fn mixed(op: &'static str) -> Error {
    Error::Device { op, reason: DeviceFault::Mixed }
}

impl Pages {
    /// On the device of `like`, or nothing where it has no pages.
    pub(crate) fn new(config: &CacheConfig, like: &Tensor<2>) -> Option<Result<Self>> {
        let like = like.clone().try_into_primitive::<CubeBackend>().ok()?;
        // Half of the bits of a model of doubles would be lost.
        (like.dtype() != DType::F64).then(|| Self::on(config, &like))
    }

    fn on(config: &CacheConfig, like: &CubeTensor) -> Result<Self> {
        let device = cube::device(like);
        let (dtype, burn_dtype, storage) = match config.storage {
            CacheType::F32 => (Dtype::F32, FloatDType::F32, CacheStorage::Float),
            CacheType::F16 => (Dtype::F16, FloatDType::F16, CacheStorage::Float),
            CacheType::Int8 => (Dtype::F32, FloatDType::F32, CacheStorage::Int8),
            CacheType::Int4 => (Dtype::F32, FloatDType::F32, CacheStorage::Int4),
        };
        let CacheConfig { layers, heads, dim, texts, positions, .. } = *config;
        let pages = texts.saturating_mul(positions.div_ceil(PAGE));
        let config_of_cache =
            KvCacheConfig { layers, kv_heads: heads, dim, pages, page_size: PAGE, dtype, storage };
        let cache = Mutex::new(KvCache::new(&device, &config_of_cache)?);
        let rotary = || Rotary::new(&device, positions, dim, ROTARY_BASE);
        let rotary = config.rotary.then(rotary).transpose()?;
        let memory = Arc::new(Memory { cache, rotary, dtype: burn_dtype });
        let text = |_| {
            let sequence = memory.cache().create();
            Arc::new(Text { memory: memory.clone(), sequence })
        };
        Ok(Self { texts: (0..texts).map(text).collect(), memory, step: None })
    }

    pub(crate) fn append(&mut self, time: usize) -> Result<()> {
        for text in &mut self.texts {
            if Arc::get_mut(text).is_none() {
                *text = text.fork()?;
            }
        }
        let tokens: Vec<_> = self.texts.iter().map(|text| (text.sequence, time)).collect();
        self.step = Some(self.memory.cache().append(&tokens)?);
        Ok(())
    }

    pub(crate) fn attend(
        &self,
        layer: usize,
        operands: [Tensor<4>; 3],
        options: &Attention,
    ) -> Result<Tensor<4>> {
        const OP: &str = "Cache::attend";
        let expected = "that of an append";
        let options = options.of_a_cache(OP)?;
        let step = self.step.as_ref();
        let step = step.ok_or(Error::Value { op: OP, argument: "step", expected, found: 0.0 })?;
        let dtype = operands[0].dtype();
        let primitive =
            |x: Tensor<4>| x.cast(self.memory.dtype).try_into_primitive::<CubeBackend>();
        let [Ok(like), Ok(k), Ok(v)] = operands.map(primitive) else { return Err(mixed(OP)) };
        let [q, k, v] = [cube::view(OP, &like)?, cube::view(OP, &k)?, cube::view(OP, &v)?];
        let mut cache = self.memory.cache();
        let rotary = self.memory.rotary.as_ref();
        cache.write(layer, step, &k, &v, rotary)?;
        let q = match rotary {
            Some(rotary) => rotary.apply(&q, step.starts())?,
            None => q,
        };
        let out = cache.attend(layer, step, &q, &options)?.out;
        counts::ran(OP);
        let out = Tensor::<4>::from_primitive::<CubeBackend>(cube::from_wavecube(&out, &like));
        Ok(out.cast(dtype))
    }

    pub(crate) fn select(&mut self, texts: &[usize]) {
        self.texts = texts.iter().map(|&text| self.texts[text].clone()).collect();
    }

    pub(crate) fn join(&mut self, other: Self) -> Result<()> {
        if !Arc::ptr_eq(&self.memory, &other.memory) {
            return Err(elsewhere());
        }
        self.texts.extend(other.texts);
        Ok(())
    }
}
