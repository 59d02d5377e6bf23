//! Lengths with a prime factor above 13, as convolutions.

use wavecube_core::{
    Limits, Result,
    fft::{Direction, is_prime, padded_len, primitive_root, wrapped_len},
};

use super::{
    chain::{BatchAxis, Chain, End, Load, Scale, Store},
    pass::{Exchange, Operand, Pass},
    shape::one_unit,
    table::{Hook, Table},
};

impl Chain {
    /// A length with a prime factor above 13 as a convolution, Rader's or Bluestein's; a round trip as
    /// two of them through the work space.
    pub(super) fn convolutions(&self, limits: &Limits) -> Result<Vec<Pass>> {
        if !self.round_trip {
            return match self.rader(limits) {
                Some(pass) => Ok(vec![pass?]),
                None => self.bluestein(limits),
            };
        }
        // Between the two the spectra lie behind the room that long convolutions take for themselves.
        let mut between = self.batch.clone();
        let mut next = self.n;
        for axis in between.iter_mut().rev() {
            axis.target = next;
            next *= axis.len;
        }
        let reserved = self.rows() * padded_len(2 * self.n - 1);
        let space = End { offset: reserved, stride: 1, len: self.n };
        let there = Chain {
            round_trip: false,
            batch: between.clone(),
            target: space,
            store: Store::Complex,
            filter_hooks: Vec::new(),
            store_hooks: self.filter_hooks.clone(),
            scale: Scale::ONE,
            ..self.clone()
        };
        let back = Chain {
            round_trip: false,
            direction: self.direction.reversed(),
            batch: between
                .iter()
                .zip(&self.batch)
                .map(|(space, own)| BatchAxis { source: space.target, ..*own })
                .collect(),
            source: space,
            load: Load::Complex,
            load_hooks: Vec::new(),
            filter_hooks: Vec::new(),
            ..self.clone()
        };
        let (mut passes, mut second) = (there.passes(limits)?, back.passes(limits)?);
        for pass in &mut passes {
            if pass.target == Operand::Output {
                pass.target = Operand::Workspace;
            }
        }
        for pass in &mut second {
            if pass.source == Operand::Input {
                pass.source = Operand::Workspace;
            }
        }
        passes.append(&mut second);
        Ok(passes)
    }

    /// The hook of a table that is the same for every transform.
    fn everywhere(&self, table: Table) -> Hook {
        Hook { strides: vec![0; self.batch.len()], ..Hook::shared(table) }
    }

    /// Bluestein's algorithm: wrapped around where only that is one pass with all points at once.
    fn bluestein(&self, limits: &Limits) -> Result<Vec<Pass>> {
        let chain = self.chirped(padded_len(2 * self.n - 1));
        let at_once = chain.shape_of_one_pass(limits);
        match self.wrapped(limits) {
            Some(pass) if !at_once.is_ok_and(|shape| shape.exchange == Exchange::Whole) => {
                Ok(vec![pass?])
            }
            _ => chain.passes(limits),
        }
    }

    /// A convolution in two turns of half its length, which is a few points shorter than the signal: it folds
    /// the signal, and of the distances it lacks those that fall onto the same place as a shorter one.
    fn wrapped(&self, limits: &Limits) -> Option<Result<Pass>> {
        let (n, direction) = (self.n, self.direction);
        let padded = wrapped_len(n).filter(|_| !one_unit(limits))?;
        let chain = self.chirped(padded);
        let shape = chain.shape(2, limits).ok()?;
        // The points beyond half the length are one more for the first butterflies of every unit.
        let first = shape.units * shape.lanes;
        if shape.exchange != Exchange::Whole || n - padded / 2 > first {
            return None;
        }
        Some(chain.single(&shape, limits).map(|mut pass| {
            pass.config.wrapped = true;
            (pass.config.padded, pass.config.cropped) = (true, true);
            pass.wrap = Some(Table::ChirpWrap { n, padded, direction });
            pass
        }))
    }

    /// Between two chirps, a convolution of `padded` points with a chirp.
    fn chirped(&self, padded: usize) -> Chain {
        let (n, direction) = (self.n, self.direction);
        let chirp = self.everywhere(Table::Chirp { n, direction });
        let with = |hooks: &[Hook]| [core::slice::from_ref(&chirp), hooks].concat();
        Chain {
            n: padded,
            direction: Direction::Forward,
            round_trip: true,
            source: End { len: self.source.len.min(n), ..self.source },
            target: End { len: self.target.len.min(n), ..self.target },
            load_hooks: with(&self.load_hooks),
            filter_hooks: vec![self.everywhere(Table::ChirpFilter { n, padded, direction })],
            store_hooks: with(&self.store_hooks),
            ..self.clone()
        }
    }

    /// Rader: the points 1 … n−1 of a prime length, in the order of the powers of a primitive root, are a
    /// cyclic correlation of `n − 1` points with those powers of the root of unity: both of its transforms
    /// have the same sign. `None` if that is no length for one pass.
    fn rader(&self, limits: &Limits) -> Option<Result<Pass>> {
        let (n, direction) = (self.n, self.direction);
        // Products of two residues are to fit 32 bits.
        if n >= 1 << 16 || !is_prime(n) {
            return None;
        }
        let convolution = Chain {
            n: n - 1,
            direction: Direction::Inverse,
            round_trip: true,
            filter_hooks: vec![self.everywhere(Table::RaderFilter { n, direction })],
            ..self.clone()
        };
        let shape = convolution.shape(1, limits).ok()?;
        Some(convolution.single(&shape, limits).map(|mut pass| {
            pass.config.root = primitive_root(n);
            pass.config.stages.iter_mut().for_each(|stage| stage.inverse = true);
            pass.config.padded = self.source.len < n;
            pass.config.cropped = self.target.len < n;
            pass
        }))
    }
}
