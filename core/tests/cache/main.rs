//! The cache's state machine against a model that copies everything.

use proptest::prelude::*;
use wavecube_core::{
    Error,
    cache::{Pages, SequenceId},
};

/// A step of a random history. Sequences are named by their place among all that ever were.
#[derive(Debug, Clone)]
enum Step {
    Create,
    Fork(usize),
    Truncate(usize, usize),
    Free(usize),
    Append(Vec<(usize, usize)>),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..12usize;
    prop_oneof![
        1 => Just(Step::Create),
        2 => any.clone().prop_map(Step::Fork),
        2 => (any.clone(), 0..24usize).prop_map(|(id, len)| Step::Truncate(id, len)),
        1 => any.clone().prop_map(Step::Free),
        5 => prop::collection::vec((any, 0..9usize), 1..4).prop_map(Step::Append),
    ]
}

/// Every sequence with a copy of its own tokens, and the memory that the pages name.
struct Model {
    pages: Pages,
    ids: Vec<SequenceId>,
    tokens: Vec<Option<Vec<u64>>>,
    memory: Vec<Option<u64>>,
    written: u64,
}

impl Model {
    fn new(pages: usize, page_size: usize) -> Self {
        Self {
            pages: Pages::new(pages, page_size).unwrap(),
            ids: Vec::new(),
            tokens: Vec::new(),
            memory: vec![None; pages * page_size],
            written: 0,
        }
    }

    fn alive(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(Option::is_some)
    }

    fn place(&self, at: usize, token: usize) -> usize {
        let size = self.pages.page_size();
        self.pages.table(self.ids[at]).unwrap()[token / size] as usize * size + token % size
    }

    fn take(&mut self, step: &Step) {
        let before = format!("{:?}", self.pages);
        let fails = match step {
            Step::Create => {
                self.ids.push(self.pages.create());
                self.tokens.push(Some(Vec::new()));
                false
            }
            _ if self.ids.is_empty() => return,
            Step::Fork(at) => {
                let at = at % self.ids.len();
                let result = self.pages.fork(self.ids[at]);
                assert_eq!(result.is_ok(), self.alive(at));
                if let Ok(id) = result {
                    self.ids.push(id);
                    self.tokens.push(self.tokens[at].clone());
                }
                result.is_err()
            }
            Step::Truncate(at, len) => {
                let at = at % self.ids.len();
                let result = self.pages.truncate(self.ids[at], *len);
                let fits = self.tokens[at].as_ref().is_some_and(|tokens| *len <= tokens.len());
                assert_eq!(result.is_ok(), fits);
                if fits && let Some(tokens) = &mut self.tokens[at] {
                    tokens.truncate(*len);
                }
                result.is_err()
            }
            Step::Free(at) => {
                let at = at % self.ids.len();
                let result = self.pages.free(self.ids[at]);
                assert_eq!(result.is_ok(), self.alive(at));
                self.tokens[at] = None;
                result.is_err()
            }
            Step::Append(parts) => self.append(parts),
        };
        if fails {
            assert_eq!(before, format!("{:?}", self.pages), "an error has changed something");
        }
        self.check();
    }

    fn append(&mut self, parts: &[(usize, usize)]) -> bool {
        let parts: Vec<_> = parts.iter().map(|&(at, n)| (at % self.ids.len(), n)).collect();
        let call: Vec<_> = parts.iter().map(|&(at, n)| (self.ids[at], n)).collect();
        let growth = match self.pages.append(&call) {
            Ok(growth) => growth,
            Err(error) => {
                let twice = (1..parts.len()).any(|i| parts[..i].iter().any(|p| p.0 == parts[i].0));
                let stale = parts.iter().any(|&(at, _)| !self.alive(at));
                let full = matches!(error, Error::Limit { .. });
                assert!(twice || stale || full, "{error}");
                return true;
            }
        };
        let size = self.pages.page_size();
        for copy in growth.copies {
            for token in 0..copy.tokens {
                self.memory[copy.to as usize * size + token] =
                    self.memory[copy.from as usize * size + token];
            }
        }
        for (&(at, count), start) in parts.iter().zip(growth.starts) {
            assert_eq!(Some(start), self.tokens[at].as_ref().map(Vec::len));
            for token in start..start + count {
                let place = self.place(at, token);
                self.memory[place] = Some(self.written);
                if let Some(tokens) = &mut self.tokens[at] {
                    tokens.push(self.written);
                }
                self.written += 1;
            }
        }
        false
    }

    /// Every token is where the table says, and every page is owned by those whose table names it.
    fn check(&self) {
        let mut owners = vec![0; self.pages.capacity()];
        for (at, tokens) in self.tokens.iter().enumerate() {
            let Some(tokens) = tokens else {
                assert!(matches!(self.pages.len(self.ids[at]), Err(Error::Value { .. })));
                assert!(self.pages.table(self.ids[at]).is_err());
                continue;
            };
            assert_eq!(self.pages.len(self.ids[at]).unwrap(), tokens.len());
            let table = self.pages.table(self.ids[at]).unwrap();
            assert_eq!(table.len(), tokens.len().div_ceil(self.pages.page_size()));
            for &page in table {
                owners[page as usize] += 1;
            }
            for (token, &value) in tokens.iter().enumerate() {
                let found = self.memory[self.place(at, token)];
                assert_eq!(found, Some(value), "token {token} of sequence {at}");
            }
        }
        for (page, &count) in owners.iter().enumerate() {
            assert_eq!(self.pages.owners(page as u32), count, "owners of page {page}");
        }
        assert_eq!(self.pages.free_pages(), owners.iter().filter(|&&count| count == 0).count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn histories_agree_with_a_model(
        pages in 1..14usize,
        page_size in 1..6usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut model = Model::new(pages, page_size);
        model.take(&Step::Create);
        for step in &steps {
            model.take(step);
        }
    }
}

/// An append succeeds exactly when there are pages for it: no page is left over, none is missing.
#[test]
fn the_last_page_can_be_had() {
    let mut pages = Pages::new(3, 4).unwrap();
    let first = pages.create();
    pages.append(&[(first, 6)]).unwrap();
    let second = pages.fork(first).unwrap();
    // Both forks grow into the page they share: one takes a copy, the other keeps it.
    let growth = pages.append(&[(first, 2), (second, 1)]).unwrap();
    assert_eq!((growth.copies.len(), growth.starts.as_slice()), (1, [6, 6].as_slice()));
    assert_eq!(pages.free_pages(), 0);
    assert!(matches!(
        pages.append(&[(first, 1)]),
        Err(Error::Limit { available: 0, required: 1, .. })
    ));
    pages.append(&[(second, 1), (first, 0)]).unwrap();
}

#[test]
fn misuse_is_an_error() {
    assert!(matches!(Pages::new(0, 4), Err(Error::Length { argument: "pages", .. })));
    assert!(matches!(Pages::new(4, 0), Err(Error::Length { argument: "page_size", .. })));
    assert!(Pages::new(usize::MAX, 2).is_err() && Pages::new(1 << 20, 1 << 12).is_err());
    let (mut one, mut other) = (Pages::new(2, 2).unwrap(), Pages::new(2, 2).unwrap());
    let (mine, theirs) = (one.create(), other.create());
    assert!(matches!(one.len(theirs), Err(Error::Value { argument: "sequence", .. })));
    assert!(matches!(one.append(&[(mine, 1), (mine, 1)]), Err(Error::Value { .. })));
    assert!(matches!(one.append(&[(mine, usize::MAX)]), Err(Error::Limit { .. })));
    assert!(one.append(&[(mine, 3), (theirs, 1)]).is_err() && one.is_empty(mine).unwrap());
    one.free(mine).unwrap();
    let again = one.create();
    assert!(one.free(mine).is_err() && one.fork(mine).is_err() && one.truncate(mine, 0).is_err());
    assert!(one.is_empty(again).unwrap());
}
