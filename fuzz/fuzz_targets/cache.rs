//! Histories of a cache: whatever is asked, no page is lost, none is owned twice by mistake, and what
//! fails changes nothing.

#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use wavecube_core::{Error, cache::Pages};

#[derive(Arbitrary, Debug)]
enum Step {
    Create,
    Fork(u8),
    Truncate(u8, u16),
    Free(u8),
    Append(Vec<(u8, u16)>),
    AppendAny(u8, usize),
    Extend(u8),
}

#[derive(Arbitrary, Debug)]
struct History {
    pages: u8,
    page_size: u8,
    steps: Vec<Step>,
}

fuzz_target!(|history: History| {
    let Ok(mut pages) = Pages::new(history.pages.into(), history.page_size.into()) else {
        assert!(history.pages == 0 || history.page_size == 0);
        return;
    };
    let mut ids = vec![pages.create()];
    for step in history.steps.iter().take(200) {
        let before = format!("{pages:?}");
        let id = |at: u8| ids[usize::from(at) % ids.len()];
        let result = match step {
            Step::Create => Ok(Some(pages.create())),
            Step::Fork(at) => pages.fork(id(*at)).map(Some),
            Step::Truncate(at, len) => pages.truncate(id(*at), (*len).into()).map(|()| None),
            Step::Free(at) => pages.free(id(*at)).map(|()| None),
            Step::Append(parts) => {
                let parts: Vec<_> = parts.iter().map(|&(at, n)| (id(at), n.into())).collect();
                pages.append(&parts).map(|_| None)
            }
            Step::Extend(more) => pages.extend((*more).into()).map(|()| None),
            Step::AppendAny(at, n) => pages.append(&[(id(*at), *n)]).map(|_| None),
        };
        match result {
            Ok(new) => ids.extend(new),
            Err(error) => {
                assert!(matches!(
                    error,
                    Error::Value { .. } | Error::Length { .. } | Error::Limit { .. }
                ));
                assert_eq!(before, format!("{pages:?}"));
            }
        }
        let mut owners = vec![0; pages.capacity()];
        for &id in &ids {
            let Ok(table) = pages.table(id) else { continue };
            assert_eq!(table.len(), pages.len(id).unwrap().div_ceil(pages.page_size()));
            for &page in table {
                owners[page as usize] += 1;
            }
        }
        for (page, &count) in owners.iter().enumerate() {
            assert_eq!(pages.owners(page as u32), count);
        }
        assert_eq!(pages.free_pages(), owners.iter().filter(|&&count| count == 0).count());
    }
});
