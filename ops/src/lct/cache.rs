//! What transforms keep on a device: plans, and tables by what they were made from.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cubecl::server::Handle;
use wavecube_core::Dtype;
use wavecube_kernels::lct::{LctPlan, LctProblem, Resident, Stage};

/// Plans kept for each device; beyond it the cache starts anew.
const PLANS: usize = 512;
/// Bytes of tables kept: parameters that change with every step fill it and start it anew.
const PROGRAM_BYTES: usize = 64 << 20;
/// Bytes of dense matrices kept.
const MATRIX_BYTES: usize = 512 << 20;

/// What a table was made from: the operation, the length, and the bits of every number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) recipe: &'static str,
    pub(super) n: usize,
    pub(super) bits: Vec<u64>,
    pub(super) compute: Dtype,
}

impl Key {
    pub(super) fn new(recipe: &'static str, n: usize, values: &[f64], dtype: Dtype) -> Self {
        let bits = values.iter().map(|value| value.to_bits()).collect();
        Self { recipe, n, bits, compute: dtype.compute() }
    }
}

/// The stages of a program, and its tables on the device.
pub(super) struct Loaded {
    pub(super) stages: Vec<Stage>,
    pub(super) output_len: usize,
    pub(super) resident: Resident,
}

struct Bounded<V> {
    entries: HashMap<Key, V>,
    bytes: usize,
}

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), bytes: 0 }
    }
}

impl<V: Clone> Bounded<V> {
    fn insert(&mut self, key: Key, value: V, bytes: usize, limit: usize) {
        if self.bytes.saturating_add(bytes) > limit {
            self.entries.clear();
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.insert(key, value);
    }
}

#[derive(Default)]
pub(crate) struct Kept {
    programs: Mutex<Bounded<Arc<Loaded>>>,
    matrices: Mutex<Bounded<Handle>>,
    plans: Mutex<HashMap<LctProblem, Arc<LctPlan>>>,
    degenerate: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    pub(crate) fn clear(&self) {
        *locked(&self.programs) = Bounded::default();
        *locked(&self.matrices) = Bounded::default();
        locked(&self.plans).clear();
    }

    pub(super) fn program(&self, key: &Key) -> Option<Arc<Loaded>> {
        locked(&self.programs).entries.get(key).cloned()
    }

    pub(super) fn keep_program(&self, key: Key, loaded: &Arc<Loaded>, bytes: usize) {
        locked(&self.programs).insert(key, Arc::clone(loaded), bytes, PROGRAM_BYTES);
    }

    pub(super) fn matrix(&self, key: &Key) -> Option<Handle> {
        locked(&self.matrices).entries.get(key).cloned()
    }

    pub(super) fn keep_matrix(&self, key: Key, handle: &Handle) {
        let bytes = handle.size_in_used() as usize;
        locked(&self.matrices).insert(key, handle.clone(), bytes, MATRIX_BYTES);
    }

    pub(super) fn plan(&self, problem: &LctProblem) -> Option<Arc<LctPlan>> {
        locked(&self.plans).get(problem).cloned()
    }

    pub(super) fn keep_plan(&self, problem: LctProblem, plan: &Arc<LctPlan>) {
        let mut plans = locked(&self.plans);
        if plans.len() >= PLANS {
            plans.clear();
        }
        plans.insert(problem, Arc::clone(plan));
    }

    pub(super) fn count_degenerate(&self) {
        self.degenerate.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn degenerate_hits(&self) -> u64 {
        self.degenerate.load(Ordering::Relaxed)
    }
}
