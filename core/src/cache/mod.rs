//! Which pages of a cache belong to which sequence: a state machine of plain data.
//!
//! A cache is a number of equal pages, each with room for a number of tokens. A sequence is a list of
//! pages, all full but the last. [`Pages::fork`] makes a sequence that shares all pages of another one;
//! whoever then appends to a page that is shared and not full takes a copy of it first (copy on write).
//!
//! Every method either succeeds, or returns an error and changes nothing. What has to move in memory is
//! told to the caller, [`Growth::copies`], who owns the memory.

mod handle;

pub use handle::SequenceId;

use handle::Slots;

use crate::{Error, Result};

/// A page to be copied before anything is written: its first tokens only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCopy {
    /// The page that is shared.
    pub from: u32,
    /// The page that takes its place in one sequence.
    pub to: u32,
    /// The tokens it holds.
    pub tokens: usize,
}

/// What an append did: the copies it asks for, and where each sequence grew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// Copies, all of them before the first write.
    pub copies: Vec<PageCopy>,
    /// The position of the first new token of each sequence, in the order of the call.
    pub starts: Vec<usize>,
}

#[derive(Debug, Clone, Default)]
struct Sequence {
    pages: Vec<u32>,
    len: usize,
}

/// The pages of a cache and the sequences that own them.
///
/// ```
/// use wavecube_core::cache::Pages;
///
/// let mut pages = Pages::new(4, 16)?;
/// let prompt = pages.create();
/// pages.append(&[(prompt, 20)])?;
/// let other = pages.fork(prompt)?;
/// assert_eq!(pages.free_pages(), 2); // the fork shares both pages
/// let growth = pages.append(&[(other, 1)])?;
/// assert_eq!(growth.copies.len(), 1); // the second page was not full, so it is copied
/// assert_eq!((pages.len(prompt)?, pages.len(other)?), (20, 21));
/// assert!(pages.append(&[(prompt, 100)]).is_err()); // there is no room: nothing has changed
/// assert_eq!(pages.len(prompt)?, 20);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Pages {
    page_size: usize,
    /// The sequences that own each page.
    owners: Vec<u32>,
    /// Pages that nobody owns; the last is taken first.
    free: Vec<u32>,
    sequences: Slots<Sequence>,
}

impl Pages {
    /// `pages` empty pages of `page_size` tokens each.
    ///
    /// # Errors
    /// [`Error::Length`] for no pages, pages of no tokens, or more tokens than 2³¹ − 1.
    pub fn new(pages: usize, page_size: usize) -> Result<Self> {
        let op = "Pages::new";
        if page_size == 0 {
            let expected = "at least 1";
            return Err(Error::Length { op, argument: "page_size", expected, found: page_size });
        }
        let tokens = pages.checked_mul(page_size);
        if pages == 0 || tokens.is_none_or(|tokens| tokens > i32::MAX as usize) {
            let expected = "at least 1, and room for at most 2^31 - 1 tokens";
            return Err(Error::Length { op, argument: "pages", expected, found: pages });
        }
        Ok(Self {
            page_size,
            owners: vec![0; pages],
            free: (0..pages as u32).rev().collect(),
            sequences: Slots::default(),
        })
    }

    /// Adds empty pages.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn extend(&mut self, pages: usize) -> Result<()> {
        let all = self.owners.len().saturating_add(pages);
        if all.checked_mul(self.page_size).is_none_or(|tokens| tokens > i32::MAX as usize) {
            let (op, expected) = ("Pages::extend", "room for at most 2^31 - 1 tokens");
            return Err(Error::Length { op, argument: "pages", expected, found: all });
        }
        // Taken after those that are free already.
        let more = (self.owners.len() as u32..all as u32).rev();
        self.free.splice(0..0, more);
        self.owners.resize(all, 0);
        Ok(())
    }

    /// The tokens of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// The pages of the cache.
    pub fn capacity(&self) -> usize {
        self.owners.len()
    }

    /// The pages that no sequence owns.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// The sequences that own `page`; 0 for a page that is free, or that there is not.
    pub fn owners(&self, page: u32) -> usize {
        self.owners.get(page as usize).map_or(0, |&owners| owners as usize)
    }

    /// A new sequence without tokens. It takes no page.
    pub fn create(&mut self) -> SequenceId {
        self.sequences.insert(Sequence::default())
    }

    /// The tokens of a sequence.
    ///
    /// # Errors
    /// [`Error::Value`] for a sequence that has been freed, or is another cache's.
    pub fn len(&self, sequence: SequenceId) -> Result<usize> {
        Ok(self.sequences.get("Pages::len", sequence)?.len)
    }

    /// Whether a sequence has no tokens.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty(&self, sequence: SequenceId) -> Result<bool> {
        Ok(self.len(sequence)? == 0)
    }

    /// The pages of a sequence, in the order of its tokens.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn table(&self, sequence: SequenceId) -> Result<&[u32]> {
        Ok(&self.sequences.get("Pages::table", sequence)?.pages)
    }

    /// A sequence with the tokens of another one, whose pages it shares.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn fork(&mut self, sequence: SequenceId) -> Result<SequenceId> {
        let copy = self.sequences.get("Pages::fork", sequence)?.clone();
        for &page in &copy.pages {
            self.owners[page as usize] += 1;
        }
        Ok(self.sequences.insert(copy))
    }

    /// Drops all tokens from position `len` on, and gives back the pages that then are empty.
    ///
    /// # Errors
    /// As [`len`](Self::len); [`Error::Length`] if the sequence has fewer tokens.
    pub fn truncate(&mut self, sequence: SequenceId, len: usize) -> Result<()> {
        let op = "Pages::truncate";
        let kept = len.div_ceil(self.page_size);
        let sequence = self.sequences.get_mut(op, sequence)?;
        if len > sequence.len {
            let expected = "at most that of the sequence";
            return Err(Error::Length { op, argument: "len", expected, found: len });
        }
        sequence.len = len;
        let dropped = sequence.pages.split_off(kept);
        self.release(&dropped);
        Ok(())
    }

    /// Ends a sequence and gives back its pages. Its handle is stale from then on.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn free(&mut self, sequence: SequenceId) -> Result<()> {
        let sequence = self.sequences.remove("Pages::free", sequence)?;
        self.release(&sequence.pages);
        Ok(())
    }

    /// Makes room for tokens at the end of several sequences, of all or of none: pairs of a sequence and
    /// the number of its new tokens.
    ///
    /// # Errors
    /// As [`len`](Self::len); [`Error::Value`] for a sequence that is named twice, [`Error::Limit`] if
    /// there are not enough free pages.
    pub fn append(&mut self, tokens: &[(SequenceId, usize)]) -> Result<Growth> {
        let op = "Pages::append";
        let mut seen: Vec<SequenceId> = tokens.iter().map(|&(id, _)| id).collect();
        seen.sort_unstable();
        if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
            let expected = "named once in an append";
            let found = f64::from(twice[0].slot());
            return Err(Error::Value { op, argument: "sequence", expected, found });
        }
        // How many pages this takes. Two forks that both grow copy their last page once: the second one
        // then owns it alone.
        let mut required = 0usize;
        let mut copied: Vec<u32> = Vec::new();
        for &(id, count) in tokens {
            let sequence = self.sequences.get(op, id)?;
            let whole = sequence.len.saturating_add(count).div_ceil(self.page_size);
            required = required.saturating_add(whole - sequence.pages.len());
            if let Some(page) = self.shared_end(sequence, count) {
                let already = copied.iter().filter(|&&other| other == page).count();
                if self.owners(page) > already + 1 {
                    copied.push(page);
                    required = required.saturating_add(1);
                }
            }
        }
        if required > self.free.len() {
            let (available, required) = (self.free.len() as u64, required as u64);
            return Err(Error::Limit { op, resource: "free pages", available, required });
        }
        let mut growth = Growth { copies: Vec::new(), starts: Vec::with_capacity(tokens.len()) };
        for &(id, count) in tokens {
            growth.starts.push(self.grow(op, id, count, &mut growth.copies)?);
        }
        Ok(growth)
    }

    /// The last page of a sequence if new tokens would go into it and others own it too.
    fn shared_end(&self, sequence: &Sequence, count: usize) -> Option<u32> {
        let partial = count > 0 && !sequence.len.is_multiple_of(self.page_size);
        let page = sequence.pages.last().copied().filter(|_| partial)?;
        (self.owners(page) > 1).then_some(page)
    }

    /// Grows one sequence; the free pages have been counted.
    fn grow(
        &mut self,
        op: &'static str,
        id: SequenceId,
        count: usize,
        copies: &mut Vec<PageCopy>,
    ) -> Result<usize> {
        let shared = self.shared_end(self.sequences.get(op, id)?, count);
        let page_size = self.page_size;
        let sequence = self.sequences.get_mut(op, id)?;
        let start = sequence.len;
        if let Some(from) = shared
            && let (Some(to), Some(last)) = (self.free.pop(), sequence.pages.last_mut())
        {
            *last = to;
            self.owners[to as usize] = 1;
            self.owners[from as usize] -= 1;
            copies.push(PageCopy { from, to, tokens: start % page_size });
        }
        sequence.len += count;
        let more = sequence.len.div_ceil(page_size) - sequence.pages.len();
        for page in self.free.split_off(self.free.len() - more).into_iter().rev() {
            self.owners[page as usize] = 1;
            sequence.pages.push(page);
        }
        Ok(start)
    }

    fn release(&mut self, pages: &[u32]) {
        for &page in pages.iter().rev() {
            self.owners[page as usize] -= 1;
            if self.owners[page as usize] == 0 {
                self.free.push(page);
            }
        }
    }
}
