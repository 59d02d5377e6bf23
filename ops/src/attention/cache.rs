//! A cache of keys and values in pages, with sequences that grow, fork and end.

use core::sync::atomic::{AtomicU64, Ordering};

use cubecl::server::Handle;
use wavecube_core::{
    DeviceFault, Dtype, Error, Result,
    cache::{Pages, SequenceId},
};
use wavecube_kernels::attention::{
    AttentionBindings, AttentionPlan, CachePlan, CacheProblem, FreshBindings, Pool, Storage,
    Tables, attention_launch, copy_pages_launch, write_launch,
};

use super::{
    Attended, Attention, Rotary,
    firsts::{BLOCKS, Firsts},
};
use crate::{Device, Tensor};

/// The sizes of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvCacheConfig {
    /// Layers of the model: they share pages' numbers, each with memory of its own.
    pub layers: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub dim: usize,
    /// Pages of all sequences together.
    pub pages: usize,
    /// Tokens of a page.
    pub page_size: usize,
    /// Type of queries, new keys and values: `f32`, `f16` or `bf16`.
    pub dtype: Dtype,
    /// How keys and values are stored.
    pub storage: Storage,
}

/// New tokens at the end of some sequences: what an append gave, for the writes and queries of all layers.
/// It ends with the next change of the cache.
#[derive(Debug, Clone)]
pub struct Step {
    version: u64,
    starts: Vec<usize>,
    counts: Vec<usize>,
    /// Pages of the longest sequence.
    pages: usize,
    /// The tables of the sequences, here and on the device.
    words: Vec<u32>,
    tables: Handle,
}

/// No two changes of any caches have the same number, so that a step belongs to one of one cache.
fn next_version() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Step {
    /// The position of the first new token of each sequence.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The most new tokens of a sequence: the length of the tensors that belong to the step.
    pub fn longest(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }

    fn last(&self) -> usize {
        self.starts.iter().zip(&self.counts).map(|(start, count)| start + count).max().unwrap_or(0)
    }
}

/// Keys and values of sequences, page by page, on a device.
///
/// A step is: [`append`](Self::append) makes room, [`write`](Self::write) fills it layer by layer, and
/// [`attend`](Self::attend) asks it. Sequences grow by different numbers of tokens at once; a fork shares
/// the pages of the sequence it comes from until either writes. Every misuse is an error that changes
/// nothing.
///
/// Quantised keys ([`Storage::Int8`], [`Storage::Int4`]) are rotated by a Hadamard matrix; codes cover the range of every
/// 32 numbers. The first 16 of a sequence are kept as they come, in `f32`; those behind are stored less a mean of these,
/// where that makes their ranges smaller. The rotation and the mean are undone in the products, exactly. What is stored
/// depends on the sequence's own tokens alone, and not on how they are split into writes.
///
/// All memory is taken at once but that of the first keys of quantised caches, which doubles with the number of
/// sequences. What a sequence wrote is gone with it: whatever pages that are free hold, no other sequence sees.
///
/// ```
/// use wavecube::{Attention, CacheStorage, Device, Dtype, KvCache, KvCacheConfig, Tensor};
///
/// let device = Device::best()?;
/// let config = KvCacheConfig {
///     layers: 1,
///     kv_heads: 1,
///     dim: 4,
///     pages: 8,
///     page_size: 2,
///     dtype: Dtype::F32,
///     storage: CacheStorage::Float,
/// };
/// let mut cache = KvCache::new(&device, &config)?;
/// let sequence = cache.create();
/// let step = cache.append(&[(sequence, 3)])?;
/// let x = Tensor::from_slice(&device, &[1.0f32; 12], &[1, 1, 3, 4])?;
/// cache.write(0, &step, &x, &x, None)?;
/// let attended = cache.attend(0, &step, &x, &Attention::causal())?;
/// assert!(attended.out.read::<f32>()?.iter().all(|v| (v - 1.0).abs() < 1e-6));
/// assert_eq!((cache.len(sequence)?, cache.free_pages()), (3, 6));
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug)]
pub struct KvCache {
    device: Device,
    plan: CachePlan,
    pages: Pages,
    pools: Vec<Pool>,
    /// Of a quantised cache.
    firsts: Option<Firsts>,
    version: u64,
}

impl KvCache {
    /// An empty cache.
    ///
    /// # Errors
    /// As [`CachePlan::new`] and [`Pages::new`].
    pub fn new(device: &Device, config: &KvCacheConfig) -> Result<Self> {
        let KvCacheConfig { layers, kv_heads, dim, pages, page_size, dtype, storage } = *config;
        let problem =
            CacheProblem { op: "KvCache", kv_heads, dim, pages, page_size, dtype, storage };
        let plan = CachePlan::new(&problem, device.limits())?;
        Ok(Self {
            device: device.clone(),
            pages: Pages::new(pages, page_size)?,
            pools: (0..layers)
                .map(|_| plan.pool(device.client(), BLOCKS))
                .collect::<Result<_>>()?,
            firsts: if plan.quantises() { Some(Firsts::new()?) } else { None },
            plan,
            version: next_version(),
        })
    }

    /// A new sequence without tokens.
    pub fn create(&mut self) -> SequenceId {
        let sequence = self.pages.create();
        if let Some(firsts) = &mut self.firsts {
            firsts.create(sequence);
        }
        sequence
    }

    /// The tokens of a sequence.
    ///
    /// # Errors
    /// [`Error::Value`] for a sequence that has been freed, or is another cache's.
    pub fn len(&self, sequence: SequenceId) -> Result<usize> {
        self.pages.len(sequence)
    }

    /// Whether a sequence has no tokens.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty(&self, sequence: SequenceId) -> Result<bool> {
        self.pages.is_empty(sequence)
    }

    /// The pages that no sequence owns.
    pub fn free_pages(&self) -> usize {
        self.pages.free_pages()
    }

    /// The tokens that all sequences together have room for.
    pub fn capacity(&self) -> usize {
        self.pages.capacity() * self.pages.page_size()
    }

    /// A sequence with the tokens of another one, whose pages it shares.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn fork(&mut self, sequence: SequenceId) -> Result<SequenceId> {
        let fork = self.changed(|pages| pages.fork(sequence))?;
        if let Some(firsts) = &mut self.firsts {
            firsts.fork(sequence, fork)?;
        }
        Ok(fork)
    }

    /// Drops the tokens of a sequence from position `len` on.
    ///
    /// # Errors
    /// As [`len`](Self::len); [`Error::Length`] if it has fewer.
    pub fn truncate(&mut self, sequence: SequenceId, len: usize) -> Result<()> {
        self.changed(|pages| pages.truncate(sequence, len))?;
        self.firsts.as_mut().map_or(Ok(()), |firsts| firsts.truncate(sequence, len))
    }

    /// Ends a sequence and gives back its pages.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn free(&mut self, sequence: SequenceId) -> Result<()> {
        self.changed(|pages| pages.free(sequence))?;
        self.firsts.as_mut().map_or(Ok(()), |firsts| firsts.free(sequence))
    }

    fn changed<T>(&mut self, change: impl FnOnce(&mut Pages) -> Result<T>) -> Result<T> {
        let result = change(&mut self.pages)?;
        self.version = next_version();
        Ok(result)
    }

    /// Makes room for new tokens at the end of sequences, of all or of none: pairs of a sequence and the
    /// number of its new tokens. What a fork still shares is copied.
    ///
    /// # Errors
    /// As [`len`](Self::len); [`Error::Value`] for a sequence that is named twice, [`Error::Limit`] if there
    /// are not enough free pages, or the first keys of so many sequences exceed a buffer.
    pub fn append(&mut self, tokens: &[(SequenceId, usize)]) -> Result<Step> {
        let client = self.device.client().clone();
        if let Some(firsts) = &mut self.firsts {
            let growing = tokens.iter().filter(|&&(_, count)| count > 0).count();
            firsts.reserve(&client, &mut self.pools, &self.plan, growing)?;
        }
        let growth = self.changed(|pages| pages.append(tokens))?;
        if let Some(firsts) = &mut self.firsts {
            firsts.append(&client, &self.pools, &self.plan, tokens, &growth.starts)?;
        }
        let pairs: Vec<_> = growth.copies.iter().map(|copy| [copy.from, copy.to]).collect();
        for pool in &self.pools {
            copy_pages_launch(&client, pool, &pairs, &self.plan)?;
        }
        let counts: Vec<usize> = tokens.iter().map(|&(_, count)| count).collect();
        let mut tables = Vec::with_capacity(tokens.len());
        for &(sequence, _) in tokens {
            tables.push(self.pages.table(sequence)?);
        }
        let pages = tables.iter().map(|table| table.len()).max().unwrap_or(0).max(1);
        let mut words: Vec<u32> = counts.iter().map(|&count| count as u32).collect();
        words
            .extend(growth.starts.iter().zip(&counts).map(|(start, count)| (start + count) as u32));
        for table in &tables {
            words.extend(*table);
            words.extend(vec![0; pages - table.len()]);
        }
        if let Some(firsts) = &self.firsts {
            for &(sequence, _) in tokens {
                words.push(firsts.block(sequence)?);
            }
        }
        // A buffer of no bytes is not a buffer everywhere.
        let bound = if words.is_empty() { &[0][..] } else { &words };
        let tables = client.create_from_slice(bytemuck::cast_slice(bound));
        Ok(Step { version: self.version, starts: growth.starts, counts, pages, words, tables })
    }

    /// Writes the new keys and values of one layer, `[batch, kv_heads, longest, dim]`, sequence by sequence
    /// in the order of the append; shorter ones are padded at the end. With `rotary` keys are turned by
    /// their positions on the way; without, they are stored as they come, as those of a prefix that was
    /// made elsewhere.
    ///
    /// # Errors
    /// [`Error::Value`] for a layer that there is not or a step that is not the last, [`Error::Shape`],
    /// [`Error::Strides`], [`Error::Dtype`] or [`Error::Device`] for tensors that do not belong to the step,
    /// [`Error::Length`] for a position without angles.
    pub fn write(
        &mut self,
        layer: usize,
        step: &Step,
        k: &Tensor,
        v: &Tensor,
        rotary: Option<&Rotary>,
    ) -> Result<()> {
        const OP: &str = "KvCache::write";
        let pool = self.checked_pool(OP, layer, step)?;
        let CacheProblem { kv_heads, dim, .. } = self.plan.problem;
        for (argument, x) in [("k", k), ("v", v)] {
            self.check_tensor(OP, argument, x, step, kv_heads)?;
        }
        if let Some(rotary) = rotary {
            let (expected, found) =
                ("that of the heads, with angles for every position", step.last());
            if rotary.positions() < step.last() || rotary.dim() != dim {
                return Err(Error::Length { op: OP, argument: "rotary", expected, found });
            }
        }
        let fresh = |x: &Tensor, rotary: Option<&Rotary>| FreshBindings {
            x: x.handle().clone(),
            layout: x.layout().clone(),
            table: rotary.map(|rotary| rotary.table().handle().clone()),
            tables: step.tables.clone(),
            pages: step.pages,
            positions: step
                .starts
                .iter()
                .zip(&step.counts)
                .map(|(&start, &count)| [start, start + count])
                .collect(),
        };
        let (client, keys, values) = (self.device.client(), fresh(k, rotary), fresh(v, None));
        write_launch(client, pool, &keys, true, &self.plan)?;
        write_launch(client, pool, &values, false, &self.plan)
    }

    /// Attention of the step's queries, `[batch, q_heads, longest, dim]`, to the tokens of their sequences
    /// up to and with the step's.
    ///
    /// # Errors
    /// As [`write`](Self::write) and [`AttentionPlan::new`]; [`Error::Unsupported`] for options with lengths: the
    /// step has them.
    pub fn attend(
        &self,
        layer: usize,
        step: &Step,
        q: &Tensor,
        options: &Attention,
    ) -> Result<Attended> {
        const OP: &str = "KvCache::attend";
        let pool = self.checked_pool(OP, layer, step)?;
        let q_heads = q.shape().get(1).copied().unwrap_or(0);
        self.check_tensor(OP, "q", q, step, q_heads)?;
        let out = Tensor::empty(&self.device, q.dtype(), false, q.shape())?;
        let layout = self.plan.layout();
        let mut problem =
            options.problem(OP, [q.layout(), &layout, &layout, out.layout()], q.dtype())?;
        problem.paged = Some(step.pages);
        problem.storage = self.plan.problem.storage;
        let plan = AttentionPlan::new(&problem, self.device.limits())?;
        if options.index(OP, &plan)?.is_some() {
            let reason = "a step knows the lengths of its sequences";
            return Err(Error::Unsupported { op: OP, argument: "lengths", reason });
        }
        let slopes = options.slopes(OP, &plan)?;
        let client = self.device.client();
        let tables = match slopes {
            None => step.tables.clone(),
            Some(slopes) => {
                let slopes = slopes.iter().map(|slope| slope.to_bits());
                let words: Vec<u32> = step.words.iter().copied().chain(slopes).collect();
                client.create_from_slice(bytemuck::cast_slice(&words))
            }
        };
        let bindings = AttentionBindings {
            q: q.handle().clone(),
            k: pool.k.clone(),
            v: pool.v.clone(),
            scales: pool.scales.clone(),
            tables: Some(Tables { words: tables, lengths: true, slopes: slopes.is_some() }),
        };
        let lse = Tensor::empty(&self.device, Dtype::F32, false, &q.shape()[..3])?;
        attention_launch(client, &bindings, out.handle(), lse.handle(), &plan)?;
        Ok(Attended { out, lse })
    }

    /// The keys and the values of a layer as they lie, `[pages, kv_heads, page_size, dim]`. What no
    /// sequence owns is whatever the memory held.
    ///
    /// # Errors
    /// [`Error::Value`] for a layer that there is not, [`Error::Unsupported`] if they are quantised.
    pub fn stored(&self, layer: usize) -> Result<[Tensor; 2]> {
        const OP: &str = "KvCache::stored";
        let CacheProblem { storage, dtype, .. } = self.plan.problem;
        if storage != Storage::Float {
            let reason = "quantised keys and values are no tensors";
            return Err(Error::Unsupported { op: OP, argument: "storage", reason });
        }
        let pool = self.pool(OP, layer)?;
        let tensor = |handle: &Handle| {
            Tensor::from_handle(&self.device, handle.clone(), dtype, false, self.plan.layout())
        };
        Ok([tensor(&pool.k)?, tensor(&pool.v)?])
    }

    fn pool(&self, op: &'static str, layer: usize) -> Result<&Pool> {
        let (expected, found) = ("below the number of layers", layer as f64);
        self.pools.get(layer).ok_or(Error::Value { op, argument: "layer", expected, found })
    }

    fn checked_pool(&self, op: &'static str, layer: usize, step: &Step) -> Result<&Pool> {
        if step.version != self.version {
            let (expected, found) = ("the last change of the cache", step.version as f64);
            return Err(Error::Value { op, argument: "step", expected, found });
        }
        self.pool(op, layer)
    }

    fn check_tensor(
        &self,
        op: &'static str,
        argument: &'static str,
        x: &Tensor,
        step: &Step,
        heads: usize,
    ) -> Result<()> {
        let CacheProblem { dim, dtype, .. } = self.plan.problem;
        x.check_complex(op, argument, false)?;
        if !self.device.same(x.device()) {
            return Err(Error::Device { op, reason: DeviceFault::Mixed });
        }
        if x.dtype() != dtype {
            let (expected, found) = ("that of the cache", x.dtype());
            return Err(Error::Dtype { op, argument, expected, found });
        }
        let expected = vec![step.counts.len(), heads, step.longest(), dim];
        if x.shape() != expected {
            return Err(Error::Shape { op, argument, expected, found: x.shape().to_vec() });
        }
        if dim > 1 && x.layout().strides()[3] != 1 {
            let (expected, found) = ("be 1 along the last axis", x.layout().strides().to_vec());
            return Err(Error::Strides { op, argument, expected, found });
        }
        Ok(())
    }
}
