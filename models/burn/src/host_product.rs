//! Products of matrices in the memory of the host.

use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

/// Products of two numbers that are worth handing to another thread.
const SHARED: usize = 1 << 20;

/// A matrix in memory, by rows or, transposed, by columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    /// From a row to the next, and from a column to the next.
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// So many rows of so many numbers, one behind the other.
    pub(crate) fn new(numbers: &'a [f32], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(rows * columns, numbers.len(), "rows are whole");
        Self { numbers, rows, columns, strides: [columns, 1] }
    }

    /// The same where a row begins `apart` numbers behind the one before.
    pub(crate) fn of_rows(numbers: &'a [f32], [rows, columns]: [usize; 2], apart: usize) -> Self {
        assert!(rows <= 1 || (rows - 1) * apart + columns <= numbers.len(), "rows are whole");
        assert!(rows == 0 || columns <= numbers.len(), "rows are whole");
        Self { numbers, rows, columns, strides: [apart, 1] }
    }

    pub(crate) fn transposed(self) -> Self {
        let [down, right] = self.strides;
        Self { rows: self.columns, columns: self.rows, strides: [right, down], ..self }
    }

    fn rows(self, rows: Range<usize>) -> Self {
        let from = if rows.is_empty() { 0 } else { rows.start * self.strides[0] };
        Self { numbers: &self.numbers[from..], rows: rows.len(), ..self }
    }
}

/// `a b`, by rows. Every element is summed in the same order, whatever the number of threads.
pub(crate) fn product(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    assert_eq!(a.columns, b.rows, "factors fit each other");
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    if rows * columns == 0 || depth == 0 {
        return vec![0.0; rows * columns];
    }
    let threads = match rows * columns * depth / SHARED {
        0 => 1,
        enough => rayon::current_num_threads().min(enough),
    };
    let mut out = Vec::with_capacity(rows * columns);
    // A multiple of what the inner loops of a product take at a time.
    let band = rows.div_ceil(threads).next_multiple_of(16);
    let bands = out.spare_capacity_mut()[..rows * columns].par_chunks_mut(band * columns);
    bands.enumerate().for_each(|(index, out)| {
        let from = index * band;
        let a = a.rows(from..from + out.len() / columns);
        // SAFETY: `out` has room for the rows of the band, which are written and not read.
        unsafe { multiply(out.as_mut_ptr().cast(), columns, a, b, 1.0, false) };
    });
    // SAFETY: the bands, which cover all of it, are written.
    unsafe { out.set_len(rows * columns) };
    out
}

/// Puts `factor` times `a b` into rows that begin `apart` numbers behind each other, or with `add` adds it there; on the
/// thread that calls.
pub(crate) fn product_into(
    out: &mut [f32],
    apart: usize,
    [a, b]: [Matrix<'_>; 2],
    factor: f32,
    add: bool,
) {
    assert_eq!(a.columns, b.rows, "factors fit each other");
    let (rows, columns) = (a.rows, b.columns);
    if rows * columns == 0 {
        return;
    }
    assert!(columns <= apart || rows == 1, "rows do not overlap");
    assert!((rows - 1) * apart + columns <= out.len(), "rows are whole");
    if a.columns == 0 {
        if !add {
            out.chunks_mut(apart).take(rows).for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    // SAFETY: `out` holds all rows, by the assertions.
    unsafe { multiply(out.as_mut_ptr(), apart, a, b, factor, add) };
}

/// # Safety
///
/// `out` has room for the rows of `a b`, `apart` numbers from each other; they are numbers where `add` reads them.
unsafe fn multiply(
    out: *mut f32,
    apart: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    factor: f32,
    add: bool,
) {
    // SAFETY: the strides of `a` and `b` keep within their numbers; of `out` the caller says so.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            apart as isize,
            add,
            a.numbers.as_ptr(),
            a.strides[1] as isize,
            a.strides[0] as isize,
            b.numbers.as_ptr(),
            b.strides[1] as isize,
            b.strides[0] as isize,
            if add { 1.0 } else { 0.0 },
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
    use rand_distr::StandardNormal;

    /// Of every size that bands, and the inner loops, may leave something of; each factor either way round.
    #[test]
    fn products_are_sums_of_products() {
        let mut random = StdRng::seed_from_u64(7);
        for [rows, depth, columns] in [
            [1, 1, 1],
            [1, 300, 2],
            [5, 0, 3],
            [0, 4, 3],
            [4, 3, 0],
            [33, 17, 41],
            [257, 130, 65],
            [130, 513, 70],
        ] {
            let mut numbers =
                |len: usize| (0..len).map(|_| random.sample(StandardNormal)).collect::<Vec<f32>>();
            let (a, b) = (numbers(rows * depth), numbers(depth * columns));
            let turned = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..columns).flat_map(|j| (0..rows).map(move |i| x[i * columns + j])).collect()
            };
            let (a_turned, b_turned) = (turned(&a, rows, depth), turned(&b, depth, columns));
            let [left, right] = [Matrix::new(&a, [rows, depth]), Matrix::new(&b, [depth, columns])];
            let ways = [
                (left, right),
                (Matrix::new(&a_turned, [depth, rows]).transposed(), right),
                (left, Matrix::new(&b_turned, [columns, depth]).transposed()),
            ];
            for (x, y) in ways {
                let found = product(x, y);
                assert_eq!(found.len(), rows * columns);
                for (at, found) in found.into_iter().enumerate() {
                    let (i, j) = (at / columns, at % columns);
                    let terms = (0..depth)
                        .map(|k| f64::from(a[i * depth + k]) * f64::from(b[k * columns + j]));
                    let (exact, size) =
                        terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                    let allowed = size * (depth as f64).sqrt().max(2.0) * f64::from(f32::EPSILON);
                    assert!(
                        (f64::from(found) - exact).abs() <= allowed,
                        "{rows} {depth} {columns}: {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let mut random = StdRng::seed_from_u64(8);
        let a: Vec<f32> = (0..600 * 200).map(|_| random.sample(StandardNormal)).collect();
        let by = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let a = Matrix::new(&a, [600, 200]);
                product(a, a.transposed())
            })
        };
        let one = by(1);
        assert!([2, 3, 7].into_iter().all(|threads| by(threads) == one));
    }
}
