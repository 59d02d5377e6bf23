//! Plans without a device: every index that a pass makes, and what a plan says when it refuses.

use wavecube::{
    Direction, Dtype, Error, FftPlan, FftProblem, Layout, Limits, Normalization, Result,
};
use wavecube_kernels::fft::{
    BatchAxis, Chain, End, Hook, Load, Operand, Scale, Store, Strategy, Table,
};
use wavecube_testing::{Rng, reach};

/// Devices so small that short transforms take every path: several passes, Bluestein, one unit.
fn small_devices() -> Vec<Limits> {
    let with = |units, shared| Limits {
        units_per_cube: units,
        shared_bytes: shared,
        cube_count: [7, 65_535, 65_535],
        ..Limits::LAVAPIPE
    };
    let cpu = |cache| Limits { cache_bytes: cache, ..Limits::cpu(2) };
    let hardware = Limits { emulated: false, ..with(256, 256) };
    vec![with(256, 256), with(64, 1024), with(1, 4096), cpu(512), cpu(4096), hardware]
}

/// A batch of random rank around an axis of `points` elements: the layout and that axis.
fn layout(rng: &mut Rng, batch: &[usize], axis: usize, points: usize) -> Layout {
    let mut shape = batch.to_vec();
    shape.insert(axis, points);
    let dense = Layout::contiguous(&shape);
    let step = rng.int(1, 3);
    let strides: Vec<usize> = dense.strides().iter().map(|s| s * step).collect();
    Layout::strided(&shape, &strides, rng.int(0, 5)).unwrap()
}

/// A random chain, one past what it reads and writes, and the lengths of its tables.
fn chain(rng: &mut Rng) -> (Chain, [usize; 2], [usize; 3]) {
    let n = [1, 2, 6, 16, 17, 31, 64, 95, 96, 120, 127, 129, 240, 254, 289][rng.int(0, 14)];
    let batch: Vec<usize> = (0..rng.int(0, 3)).map(|_| rng.int(1, 4)).collect();
    let axis = rng.int(0, batch.len());
    let round_trip = rng.int(0, 2) > 0;
    let load = match rng.int(0, 4) {
        0 => Load::Real,
        1 => Load::Reversed,
        2 => Load::Hermitian { halved: false },
        _ => Load::Complex,
    };
    let store = match rng.int(0, 3) {
        0 => Store::Real,
        1 => Store::Half { doubled: true },
        _ => Store::Complex,
    };
    let bins = n / 2 + 1;
    let (read, stored) = match load {
        Load::Hermitian { .. } => (n, bins),
        Load::Reversed => (n, n),
        _ => {
            let read = rng.int(1, n);
            (read, read)
        }
    };
    let written = if matches!(store, Store::Half { .. }) { bins } else { rng.int(1, n) };
    let input = layout(rng, &batch, axis, stored);
    let output = layout(rng, &batch, axis, written);
    // Every table either serves all transforms or has a part for each.
    let mut hook = |place: usize, len: usize| {
        let per_row = rng.int(0, 1) == 1;
        let mut next = len;
        let mut strides: Vec<usize> = batch
            .iter()
            .rev()
            .map(|&count| {
                let stride = next;
                next *= count;
                if per_row { stride } else { 0 }
            })
            .collect();
        strides.reverse();
        let hook = Hook { table: Table::Bound(place), conjugate: false, strides };
        (hook, if per_row { next } else { len })
    };
    let (on_load, on_filter, on_store) = (hook(0, read), hook(1, n), hook(2, written));
    let lengths = [on_load.1, on_filter.1, on_store.1];
    let some = |rng: &mut Rng, hook: Hook| if rng.int(0, 2) > 0 { vec![hook] } else { Vec::new() };
    let others: Vec<usize> = (0..=batch.len()).filter(|&i| i != axis).collect();
    let chain = Chain {
        op: "test",
        n,
        period: n,
        direction: [Direction::Forward, Direction::Inverse][rng.int(0, 1)],
        round_trip,
        batch: others
            .iter()
            .map(|&i| BatchAxis {
                len: input.shape()[i],
                source: input.strides()[i],
                target: output.strides()[i],
            })
            .collect(),
        source: End { offset: input.offset(), stride: input.strides()[axis], len: read },
        target: End { offset: output.offset(), stride: output.strides()[axis], len: written },
        load,
        store,
        load_hooks: some(rng, on_load.0),
        filter_hooks: if round_trip { vec![on_filter.0] } else { Vec::new() },
        store_hooks: some(rng, on_store.0),
        scale: Scale::ONE,
        dtype: [Dtype::F32, Dtype::F64][rng.int(0, 1)],
        strategy: Strategy::Auto,
    };
    (chain, [input.end().unwrap(), output.end().unwrap()], lengths)
}

#[test]
fn every_index_of_every_pass_is_within_its_buffer() {
    let mut rng = Rng::fresh();
    let mut passes = [0; 7];
    let mut wrapped = 0;
    for _ in 0..3000 {
        let limits = small_devices()[rng.int(0, 5)];
        let (chain, ends, lengths) = chain(&mut rng);
        let plan = match FftPlan::of_chain(&chain, ends, &limits) {
            Ok(plan) => plan,
            Err(Error::Limit { required, available, .. }) if required > available => continue,
            Err(error) => panic!("seed {}: {error}\n{chain:?}", rng.seed),
        };
        passes[plan.passes.len()] += 1;
        wrapped += plan.passes.iter().filter(|pass| pass.config.wrapped).count();
        if let Err(fault) = reach::check(&plan, &lengths) {
            panic!("seed {}: {fault}\n{chain:?}\n{limits:?}", rng.seed);
        }
    }
    // One pass; two; three of a long round trip; up to six of a long Bluestein round trip.
    println!("plans by their number of passes: {passes:?}");
    assert!(wrapped > 0, "no convolution wraps around");
    assert!([1, 2, 3, 6].iter().all(|&count| passes[count] > 0), "{passes:?}");
}

/// The case that once had too little work space: a Bluestein round trip whose convolutions take three
/// passes each, with several transforms.
#[test]
fn a_long_bluestein_round_trip_has_room_for_every_row() {
    let (n, rows) = (139, 5);
    let end = End { offset: 0, stride: 1, len: n };
    let chain = Chain {
        op: "test",
        n,
        period: n,
        direction: Direction::Forward,
        round_trip: true,
        batch: vec![BatchAxis { len: rows, source: n, target: n }],
        source: end,
        target: end,
        load: Load::Complex,
        store: Store::Complex,
        load_hooks: Vec::new(),
        filter_hooks: vec![Hook { strides: vec![0], ..Hook::shared(Table::Bound(0)) }],
        store_hooks: Vec::new(),
        scale: Scale::ONE,
        dtype: Dtype::F32,
        strategy: Strategy::Auto,
    };
    let limits = Limits { shared_bytes: 512, ..Limits::LAVAPIPE };
    let mut plan = FftPlan::of_chain(&chain, [rows * n; 2], &limits).unwrap();
    assert_eq!(plan.passes.len(), 6);
    reach::check(&plan, &[n]).unwrap();
    // And the check sees it: an element less is too little, and so is a table an entry short.
    assert!(reach::check(&plan, &[n - 1]).unwrap_err().contains("Bound(0)"));
    plan.workspace -= 1;
    assert!(reach::check(&plan, &[n]).is_err());
    plan.workspace += 1;
    plan.passes[1].source = Operand::Input;
    assert!(reach::check(&plan, &[n]).is_err());
}

#[test]
fn a_refused_length_names_what_the_device_lacks() {
    let plan = |n, limits: Limits| -> Result<FftPlan> {
        let problem = FftProblem::c2c(&[3, n], -1, Direction::Forward, Normalization::Backward);
        FftPlan::new(&problem, &limits)
    };
    let with =
        |units_per_cube, shared_bytes| Limits { units_per_cube, shared_bytes, ..Limits::LAVAPIPE };
    // A cube of one unit carries a transform on its own.
    for n in [1, 16, 254, 1024] {
        let plan = plan(n, with(1, 32 * 1024)).unwrap();
        assert!(plan.passes.iter().all(|pass| pass.config.units * pass.config.rows == 1));
        reach::check(&plan, &[]).unwrap();
    }
    let resource = |result: Result<FftPlan>| match result {
        Err(Error::Limit { resource, available, required, .. }) => {
            assert!(required > available, "{resource}: {required} of {available}");
            resource
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(resource(plan(4096, with(2, 32 * 1024))), "units in a cube");
    assert_eq!(resource(plan(1 << 20, with(1024, 64))), "bytes of shared memory in a cube");
    assert_eq!(resource(plan(1 << 20, with(1, 1024))), "bytes of shared memory in a cube");
    assert_eq!(
        resource(plan(64, Limits { cube_count: [1, 1, 1], ..with(4, 32 * 1024) })),
        "cubes in a launch"
    );
}

#[test]
fn a_processor_core_works_in_vectors() {
    let plan = |shape: [usize; 2], axis, dtype| {
        let direction = Direction::Forward;
        let mut problem = FftProblem::c2c(&shape, axis, direction, Normalization::Backward);
        problem.dtype = dtype;
        let mut passes = FftPlan::new(&problem, &Limits::cpu(2)).unwrap().passes;
        assert_eq!(passes.len(), 1, "{shape:?} stays in a core's cache");
        let config = passes.remove(0).config;
        assert_eq!(config.rows, shape[1 - axis as usize].min(2), "every core has work");
        let radices: Vec<_> = config.stages.iter().map(|stage| stage.radix).collect();
        (config.lanes, config.across, radices)
    };
    // Points of a transform, also where it is the only one; transforms where its points do not fill vectors, or
    // where the axis has strides. The stages never depend on which it is.
    assert_eq!(plan([4, 64], 1, Dtype::F32), (8, false, vec![8, 8]));
    assert_eq!(plan([1, 64], 1, Dtype::F32), (8, false, vec![8, 8]));
    assert_eq!(plan([64, 9], 0, Dtype::F32), (8, true, vec![8, 8]));
    assert_eq!(plan([4, 64], 1, Dtype::F64), (4, false, vec![4, 4, 4]));
    assert!(matches!(plan([2, 16_384], 1, Dtype::F32), (8, false, _)));
    let alone = plan([1, 1001], 1, Dtype::F32);
    let many = plan([9, 1001], 1, Dtype::F32);
    assert_eq!((alone.0, many.0, many.1), (1, 8, true));
    assert_eq!(alone.2, many.2);
}

#[test]
fn what_webgpu_guarantees_is_enough() {
    let some = |places: std::ops::Range<usize>| -> Vec<Hook> {
        places.map(|i| Hook { strides: vec![0], ..Hook::shared(Table::Bound(i)) }).collect()
    };
    // A transform; one with a table on every way, as canonical transforms have; and one with the most filters.
    let kinds = [(0, 0, 0, false), (1, 0, 1, false), (1, 1, 1, true), (0, 4, 0, true)];
    let lengths =
        (1..700).chain([1001, 1009, 2048, 4096, 4099, 8192, 8198, 16_384, 20_011, 1 << 18]);
    let mut most = 0;
    for (n, (before, filters, after, round_trip)) in
        lengths.flat_map(|n| kinds.map(|kind| (n, kind)))
    {
        let end = End { offset: 0, stride: 1, len: n };
        let chain = Chain {
            op: "test",
            n,
            period: n,
            direction: Direction::Forward,
            round_trip,
            batch: vec![BatchAxis { len: 3, source: n, target: n }],
            source: end,
            target: end,
            load: Load::Complex,
            store: Store::Complex,
            load_hooks: some(0..before),
            filter_hooks: some(before..before + filters),
            store_hooks: some(before + filters..before + filters + after),
            scale: Scale::ONE,
            dtype: Dtype::F32,
            strategy: Strategy::Auto,
        };
        let plan = FftPlan::of_chain(&chain, [3 * n; 2], &Limits::WEBGPU);
        let plan = plan.unwrap_or_else(|error| panic!("{n} {round_trip}: {error}"));
        for pass in &plan.passes {
            most = most.max(pass.bindings());
            assert!(pass.bindings() <= Limits::WEBGPU.bindings, "{n}: {pass:?}");
            for table in pass.packed() {
                assert_eq!(table.build().map(|entries| entries.len()), Some(table.entries()));
            }
        }
        let one_less = Limits { bindings: 2, ..Limits::WEBGPU };
        assert!(matches!(
            FftPlan::of_chain(&chain, [3 * n; 2], &one_less),
            Err(Error::Limit { resource: "buffers in one kernel", available: 2, .. })
        ));
    }
    assert_eq!(most, Limits::WEBGPU.bindings, "four filters fill it");
}

/// Taken before, it would make small signals so small that a device may take parts of their sums for zero.
#[test]
fn a_factor_is_taken_on_the_way_out() {
    for norm in [Normalization::Backward, Normalization::Ortho, Normalization::Forward] {
        for n in [64, 16_384, 20_011, 1 << 20] {
            for direction in [Direction::Forward, Direction::Inverse] {
                let problem = FftProblem::c2c(&[1, n], -1, direction, norm);
                let plan = FftPlan::new(&problem, &Limits::WEBGPU).unwrap();
                let scales: Vec<f64> = plan.passes.iter().map(|pass| pass.scale.get()).collect();
                let (last, before) = scales.split_last().unwrap();
                assert!(before.iter().all(|&scale| scale == 1.0), "{n} {norm:?}: {scales:?}");
                assert_eq!(*last, norm.scale(direction, n), "{n} {norm:?}: {scales:?}");
            }
        }
    }
}
