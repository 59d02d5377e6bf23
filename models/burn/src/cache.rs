//! Keys and values of texts, of every layer of a model.
//!
//! On a `CubeCL` backend they lie in pages of the `wavecube` crate's cache: new ones are written where they stay, and
//! texts are kept, dropped and joined by their handles. Elsewhere, and where gradients are wanted, they are tensors
//! that grow.

use std::{fmt, str::FromStr};

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use wavecube_core::{Error, Result};

use crate::{Attention, attention, pages::Pages};

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    /// As they are.
    #[default]
    F32,
    /// Queries, keys and values in 16 bits.
    F16,
    /// In 8 bits and a scale for every 32 numbers; heads must be multiples of 32.
    Int8,
    /// In 4 bits, as in 8.
    Int4,
}

/// A name that no [`CacheType`] has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCacheType(String);

impl fmt::Display for UnknownCacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown type `{}`; a cache is of f32, f16, int8 or int4", self.0)
    }
}

impl std::error::Error for UnknownCacheType {}

impl FromStr for CacheType {
    type Err = UnknownCacheType;

    fn from_str(name: &str) -> std::result::Result<Self, UnknownCacheType> {
        Ok(match name {
            "f32" => Self::F32,
            "f16" => Self::F16,
            "int8" => Self::Int8,
            "int4" => Self::Int4,
            _ => return Err(UnknownCacheType(name.to_owned())),
        })
    }
}

/// What a [`Cache`] has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Layers of the model.
    pub layers: usize,
    /// Heads of keys and values; those of queries are so many or a multiple.
    pub heads: usize,
    /// Numbers of a head.
    pub dim: usize,
    /// Texts at a time, all pasts together that were made of this one.
    pub texts: usize,
    /// Positions of a text.
    pub positions: usize,
    /// Whether queries and keys are turned by their positions.
    pub rotary: bool,
    /// How keys and values are stored.
    pub storage: CacheType,
}

/// Keys and values of the positions so far, a row for each text.
///
/// A pass over more positions is [`append`](Self::append), then [`attend`](Self::attend) layer by layer. A clone has
/// the same texts; in pages it shares them until either goes on.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{Attention, Cache, CacheConfig, CacheType};
///
/// let storage = CacheType::F32;
/// let config =
///     CacheConfig { layers: 1, heads: 1, dim: 1, texts: 1, positions: 8, rotary: false, storage };
/// let mut cache = Cache::new(&config, &Tensor::zeros([1, 1], &Device::flex()))?;
/// let x = |value: f32| Tensor::<4>::from_data([[[[value]]]], &Device::flex());
/// for (value, mean) in [(2.0, 2.0), (4.0, 3.0)] {
///     cache.append(1)?;
///     // Queries of zeros see all keys alike: the mean of the values so far.
///     let y = cache.attend(0, [x(0.0), x(1.0), x(value)], &Attention::causal())?.into_data();
///     y.assert_approx_eq::<f32>(&[[[[mean]]]].into(), Default::default());
/// }
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cache(Kept);

#[derive(Debug, Clone)]
enum Kept {
    /// `[texts, heads, positions, dim]`, a pair for every layer; nothing at the begin.
    Tensors(Vec<Option<[Tensor<4>; 2]>>),
    Pages(Pages),
}

impl Cache {
    /// An empty cache on the device of `like`, of as many texts as there is room for.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for another type than `f32` on a device without pages, [`Error::Length`] for a size of 0
    /// or heads that are not stored so, [`Error::Dtype`] and [`Error::Limit`] for what the device lacks.
    pub fn new(config: &CacheConfig, like: &Tensor<2>) -> Result<Self> {
        match Pages::new(config, like) {
            Some(Ok(pages)) => return Ok(Self(Kept::Pages(pages))),
            // What the kernels do not take, tensors do.
            Some(Err(_)) if config.storage == CacheType::F32 => {}
            Some(Err(error)) => return Err(error),
            None => {}
        }
        if config.storage != CacheType::F32 {
            return Err(Error::Unsupported {
                op: "Cache::new",
                argument: "storage",
                reason: "this device keeps keys and values in f32 alone; f16, int8 and int4 are for \
                         wgpu, cuda and cpu, without gradients",
            });
        }
        Ok(Self(Kept::Tensors(vec![None; config.layers])))
    }

    /// Whether [`attend`](Self::attend) turns queries and keys by their positions. If not, they have to come turned.
    pub fn turns(&self) -> bool {
        match &self.0 {
            Kept::Tensors(_) => false,
            Kept::Pages(_) => true,
        }
    }

    /// Makes room for `time` more positions of every text.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if there is none; then nothing has changed.
    pub fn append(&mut self, time: usize) -> Result<()> {
        match &mut self.0 {
            Kept::Tensors(_) => Ok(()),
            Kept::Pages(pages) => pages.append(time),
        }
    }

    /// [`attention()`] of the queries of the positions that were appended, with their keys and values and all those
    /// before, `[texts, heads, time, dim]` each.
    ///
    /// # Errors
    ///
    /// Those of [`attention()`]; [`Error::Value`] for a layer that there is not, [`Error::Unsupported`] for lengths and a
    /// prefix.
    pub fn attend(
        &mut self,
        layer: usize,
        [q, k, v]: [Tensor<4>; 3],
        options: &Attention,
    ) -> Result<Tensor<4>> {
        match &mut self.0 {
            Kept::Tensors(layers) => {
                let layers = layers.get_mut(layer).ok_or(Error::Value {
                    op: "Cache::attend",
                    argument: "layer",
                    expected: "below the number of layers",
                    found: layer as f64,
                })?;
                options.of_a_cache("Cache::attend")?;
                let [k, v] = match layers.take() {
                    Some([keys, values]) => {
                        [Tensor::cat(vec![keys, k], 2), Tensor::cat(vec![values, v], 2)]
                    }
                    None => [k, v],
                };
                *layers = Some([k.clone(), v.clone()]);
                attention(q, k, v, options)
            }
            Kept::Pages(pages) => pages.attend(layer, [q, k, v], options),
        }
    }

    /// Keeps these texts alone, in this order; one that is named again goes on several times.
    pub fn select(&mut self, texts: &[usize], device: &Device) {
        match &mut self.0 {
            Kept::Tensors(layers) => {
                for rows in layers.iter_mut().flatten().flatten() {
                    *rows = rows.clone().select(0, indices(texts, device));
                }
            }
            Kept::Pages(pages) => pages.select(texts),
        }
    }

    /// Adds the texts of `other`, which have as many positions.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a cache that was not made of this one, or this one of it, by
    /// [`clone`](Clone::clone); then nothing has changed.
    pub fn join(&mut self, other: Self) -> Result<()> {
        match (&mut self.0, other.0) {
            (Kept::Tensors(layers), Kept::Tensors(more)) => {
                let rows = layers.iter_mut().flatten().flatten();
                for (rows, more) in rows.zip(more.into_iter().flatten().flatten()) {
                    *rows = Tensor::cat(vec![rows.clone(), more], 0);
                }
                Ok(())
            }
            (Kept::Pages(pages), Kept::Pages(more)) => pages.join(more),
            _ => Err(elsewhere()),
        }
    }
}

/// The refusal to join texts of another memory.
pub(crate) fn elsewhere() -> Error {
    let reason = "its texts lie in another memory";
    Error::Unsupported { op: "Cache::join", argument: "other", reason }
}

/// Rows as a tensor of indices.
pub fn indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    Tensor::from_data(TensorData::new(values, [rows.len()]), device)
}
