//! The first keys of the sequences of a quantised cache, which are kept as they come.

use std::collections::HashMap;

use cubecl::client::Client;
use wavecube_core::{
    Error, Result,
    cache::{Pages, SequenceId},
};
use wavecube_kernels::attention::{CachePlan, FIRST, Pool, copy_blocks_launch, grow_launch};

/// Blocks there are at first: their number doubles when there are more sequences.
pub(super) const BLOCKS: usize = 8;

/// Which block of first keys belongs to which sequence: a cache of its own whose pages are the blocks, and whose
/// sequences end where their first keys do. Forks share a block until either writes into it.
#[derive(Debug)]
pub(super) struct Firsts {
    blocks: Pages,
    of: HashMap<SequenceId, SequenceId>,
}

impl Firsts {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { blocks: Pages::new(BLOCKS, FIRST)?, of: HashMap::new() })
    }

    pub(super) fn create(&mut self, sequence: SequenceId) {
        self.of.insert(sequence, self.blocks.create());
    }

    fn named(&self, sequence: SequenceId) -> Result<SequenceId> {
        let unknown = || Error::Value {
            op: "KvCache",
            argument: "sequence",
            expected: "one that has not been freed, of this cache",
            found: f64::NAN,
        };
        self.of.get(&sequence).copied().ok_or_else(unknown)
    }

    pub(super) fn fork(&mut self, from: SequenceId, to: SequenceId) -> Result<()> {
        let copy = self.blocks.fork(self.named(from)?)?;
        self.of.insert(to, copy);
        Ok(())
    }

    pub(super) fn truncate(&mut self, sequence: SequenceId, len: usize) -> Result<()> {
        self.blocks.truncate(self.named(sequence)?, len.min(FIRST))
    }

    pub(super) fn free(&mut self, sequence: SequenceId) -> Result<()> {
        let block = self.named(sequence)?;
        self.of.remove(&sequence);
        self.blocks.free(block)
    }

    /// Makes sure that `more` sequences may take a block of their own.
    pub(super) fn reserve(
        &mut self,
        client: &Client,
        pools: &mut [Pool],
        plan: &CachePlan,
        more: usize,
    ) -> Result<()> {
        let missing = more.saturating_sub(self.blocks.free_pages());
        if missing == 0 {
            return Ok(());
        }
        let added = missing.max(self.blocks.capacity());
        let all = self.blocks.capacity().saturating_add(added);
        for pool in pools {
            grow_launch(client, pool, all, plan)?;
        }
        self.blocks.extend(added)
    }

    /// Follows an append to sequences that have grown from `starts`; blocks have been reserved.
    pub(super) fn append(
        &mut self,
        client: &Client,
        pools: &[Pool],
        plan: &CachePlan,
        tokens: &[(SequenceId, usize)],
        starts: &[usize],
    ) -> Result<()> {
        let mut grown = Vec::with_capacity(tokens.len());
        for (&(sequence, count), &start) in tokens.iter().zip(starts) {
            let count = (start + count).min(FIRST).saturating_sub(start);
            grown.push((self.named(sequence)?, count));
        }
        let growth = self.blocks.append(&grown)?;
        let pairs: Vec<_> = growth.copies.iter().map(|copy| [copy.from, copy.to]).collect();
        for pool in pools {
            copy_blocks_launch(client, pool, &pairs, self.blocks.capacity(), plan)?;
        }
        Ok(())
    }

    /// The block of a sequence; any where it has no tokens.
    pub(super) fn block(&self, sequence: SequenceId) -> Result<u32> {
        Ok(self.blocks.table(self.named(sequence)?)?.first().copied().unwrap_or(0))
    }
}
