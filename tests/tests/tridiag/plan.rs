//! Plans, with no device.

use wavecube::{Dtype, Error, Layout, Limits};
use wavecube_kernels::{
    sum::SumPlan,
    tridiag::{Algorithm, OffDiagonals, Strategy, Task, TridiagPlan, TridiagProblem},
};

fn problem(rows: usize, n: usize) -> TridiagProblem {
    let full = Layout::contiguous(&[rows, n]);
    TridiagProblem {
        op: "test",
        task: Task::Diagonal,
        a: full.clone(),
        off_diagonals: OffDiagonals::Product(Layout::contiguous(&[1, n.saturating_sub(1)])),
        z: Layout::contiguous(&[rows]),
        diagonal: full,
        dtype: Dtype::F32,
        complex: [false, false],
        strategy: Strategy::Auto,
        mixed: false,
    }
}

#[test]
fn plans_fit_their_device() {
    let tiny = Limits { units_per_cube: 6, shared_bytes: 1000, ..Limits::LAVAPIPE };
    for limits in [Limits::LAVAPIPE, Limits::HOPPER, tiny, Limits::cpu(4)] {
        for (rows, n) in [(1, 1), (3, 8), (1000, 9), (16, 4096), (2, 4097), (1, 1 << 20)] {
            for dtype in [Dtype::F32, Dtype::F64] {
                let plan = TridiagPlan::new(&TridiagProblem { dtype, ..problem(rows, n) }, &limits)
                    .unwrap();
                assert!(plan.units <= limits.units_per_cube, "{}", plan.describe());
                assert!(plan.carry.units <= limits.units_per_cube);
                assert!(plan.carry.shared_bytes() <= limits.shared_bytes);
                let serial = limits.serial || (limits.emulated && rows >= 16);
                assert!(plan.tiles * plan.tile.units * plan.tile.elements >= n || serial);
                if plan.algorithm == Algorithm::Chunked {
                    assert!(plan.tile.shared_bytes() <= limits.shared_bytes, "{}", plan.describe());
                }
                assert_eq!(plan.algorithm == Algorithm::Serial, serial);
            }
        }
    }
    let one_launch = TridiagPlan::new(&problem(16, 4096), &Limits::HOPPER).unwrap();
    assert!(one_launch.describe().contains("1 launch"), "{}", one_launch.describe());
    // Operands a + z + the diagonal, and one shared set of products.
    assert_eq!(one_launch.floor_bytes, 4 * (16 * 4096 * 3 + 4095 + 2 * 16));
}

#[test]
fn plans_reject_what_they_cannot_do() {
    let with = |change: &dyn Fn(&mut TridiagProblem)| {
        let mut problem = problem(4, 100);
        change(&mut problem);
        TridiagPlan::new(&problem, &Limits::LAVAPIPE).err()
    };
    assert!(with(&|_| {}).is_none());
    let zero = |p: &mut TridiagProblem| {
        p.diagonal = Layout::contiguous(&[4, 0]);
        p.a = p.diagonal.clone();
    };
    assert!(matches!(with(&zero), Some(Error::Length { .. })));
    let twice =
        |p: &mut TridiagProblem| p.diagonal = Layout::strided(&[4, 100], &[0, 1], 0).unwrap();
    assert!(matches!(with(&twice), Some(Error::Strides { .. })));
    for half in [Dtype::F16, Dtype::Bf16] {
        assert!(matches!(with(&|p| p.dtype = half), Some(Error::Dtype { .. })));
    }
    assert!(matches!(with(&|p| p.z = Layout::contiguous(&[5])), Some(Error::Shape { .. })));
    let huge = problem(1, 1 << 40);
    assert!(matches!(
        TridiagPlan::new(&huge, &Limits::LAVAPIPE),
        Err(Error::Limit { .. } | Error::Length { .. })
    ));
}

#[test]
fn every_task_has_its_launches() {
    let with = |task, mixed, limits: &Limits| {
        let beside = Layout::contiguous(&[4, 99]);
        let off_diagonals = OffDiagonals::Separate { upper: beside.clone(), lower: beside };
        let problem = TridiagProblem { task, mixed, off_diagonals, ..problem(4, 100) };
        TridiagPlan::new(&problem, limits)
    };
    let launches = |task, mixed| with(task, mixed, &Limits::HOPPER).unwrap().describe();
    for (task, mixed, expected) in [
        (Task::Diagonal, false, "1 launch"),
        (Task::Diagonal, true, "4 launches"),
        // Gradients are those of f32.
        (Task::Vjp, true, "1 launch"),
        (Task::Solve { conjugate: false }, false, "1 launch"),
        (Task::SolveVjp, false, "1 launch"),
        (Task::Determinant, false, "2 launches"),
        (Task::DeterminantVjp, false, "1 launch"),
    ] {
        let words = launches(task, mixed);
        assert!(words.contains(expected), "{task:?}: {words}");
    }
    let without = Limits { f16: false, ..Limits::HOPPER };
    let found = with(Task::Diagonal, true, &without);
    assert!(matches!(found, Err(Error::Dtype { argument: "the scan", .. })), "{found:?}");
    // No room for a tree: a unit a sequence does without, and what cannot says so.
    let bare = Limits { shared_bytes: 40, ..Limits::HOPPER };
    assert_eq!(with(Task::Vjp, false, &bare).unwrap().algorithm, Algorithm::Serial);
    assert!(matches!(with(Task::Determinant, false, &bare), Err(Error::Limit { .. })));
}

/// Solutions and gradients have fewer units, since each needs more registers.
#[test]
fn long_sequences_leave_one_launch_at_the_lengths_documented() {
    for (task, longest) in [
        (Task::Diagonal, 4096),
        (Task::Vjp, 2048),
        (Task::Solve { conjugate: false }, 2048),
        (Task::DeterminantVjp, 2048),
    ] {
        for (n, expected) in [(longest, Algorithm::Chunked), (longest + 1, Algorithm::Streamed)] {
            let beside = Layout::contiguous(&[4, n - 1]);
            let off_diagonals = OffDiagonals::Separate { upper: beside.clone(), lower: beside };
            let problem = TridiagProblem { task, off_diagonals, ..problem(4, n) };
            let plan = TridiagPlan::new(&problem, &Limits::HOPPER).unwrap();
            assert_eq!(plan.algorithm, expected, "{task:?} {n}: {}", plan.describe());
        }
    }
}

/// Found by the fuzzer: the product of the lengths exceeded an index.
#[test]
fn sums_of_too_much_are_refused() {
    let plan = |full: &[usize], target: &[usize]| {
        SumPlan::new("test", full, target, Dtype::F32, &Limits::HOPPER)
    };
    let found = plan(&[63; 12], &[1; 12]);
    assert!(matches!(found, Err(Error::Limit { .. })), "{found:?}");
    // Of nothing there is a sum, however long the other axes are.
    let nothing = [usize::MAX / 2, 63, 0];
    assert!(plan(&nothing, &nothing).is_ok_and(|plan| plan.outputs == 0));
}

#[test]
fn solutions_need_what_lies_beside_the_diagonal() {
    for task in [Task::Solve { conjugate: true }, Task::SolveVjp] {
        let found = TridiagPlan::new(&TridiagProblem { task, ..problem(4, 100) }, &Limits::HOPPER);
        assert!(matches!(found, Err(Error::Unsupported { argument: "p", .. })), "{found:?}");
    }
}

#[test]
fn every_task_fits_the_buffers_that_webgpu_guarantees() {
    let beside = Layout::contiguous(&[4, 4999]);
    let tasks = [
        Task::Diagonal,
        Task::Vjp,
        Task::Determinant,
        Task::DeterminantVjp,
        Task::Solve { conjugate: false },
        Task::SolveVjp,
        Task::Factor,
    ];
    for task in tasks {
        let off_diagonals = OffDiagonals::Separate { upper: beside.clone(), lower: beside.clone() };
        let problem = TridiagProblem { task, off_diagonals, ..problem(4, 5000) };
        assert!(TridiagPlan::new(&problem, &Limits::WEBGPU).is_ok(), "{task:?}");
        let fewer = Limits { bindings: 6, ..Limits::WEBGPU };
        let found = TridiagPlan::new(&problem, &fewer);
        assert!(
            matches!(found, Err(Error::Limit { available: 6, required: 7, .. })),
            "{task:?}: {found:?}"
        );
    }
}
