//! Devices and tensors: what is missing, too large, or of the wrong kind.

use std::process::{Command, Output};

use wavecube::{Complex32, Device, DeviceFault, Dtype, Error, Layout, Normalization, Tensor};
use wavecube_testing::{Rng, devices, has};

/// Set for the copy of this program that is to find no device.
const ALONE: &str = "WAVECUBE_TEST_WITHOUT_DEVICE";
/// Set for the copy of this program that is to fork.
#[cfg(unix)]
const FORKING: &str = "WAVECUBE_TEST_FORKS";
/// Set for the copy of this program whose test is to fail.
const FAILING: &str = "WAVECUBE_TEST_FAILS";

/// Runs a test of this file by itself in a copy of this program.
fn copy(test: &str, variable: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("device::{test}"), "--nocapture"]).env(variable, "1");
    child
}

fn assert_passed(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn a_failure_says_which_seed_replays_it() {
    if std::env::var_os(FAILING).is_some() {
        let rng = Rng::fresh();
        panic!("as it should, with seed {}", rng.seed);
    }
    let mut child = copy("a_failure_says_which_seed_replays_it", FAILING);
    let output = child.env("WAVECUBE_SEED", "4321").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("WAVECUBE_SEED=4321"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_fork_is_told_that_devices_stay_behind() {
    if std::env::var_os(FORKING).is_some() {
        return fork_and_ask();
    }
    assert_passed(&copy("a_fork_is_told_that_devices_stay_behind", FORKING).output().unwrap());
}

/// A fork has no thread that could answer: asking for any of these took for ever.
#[cfg(unix)]
fn fork_and_ask() {
    let norm = Normalization::Backward;
    let device = Device::best().unwrap();
    let one = [Complex32::new(1.0, 0.0)];
    let x = Tensor::from_slice(&device, &one, &[1]).unwrap();
    let y = wavecube::fft(&x, 0, norm).unwrap();
    assert_eq!(y.read::<Complex32>().unwrap(), one);
    let forked = |error: Error| matches!(error, Error::Device { reason: DeviceFault::Forked, .. });
    // SAFETY: the child uses memory alone, asks the operating system for nothing but to be ended, and is ended.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut in_place = x.clone();
        let forward = wavecube::Direction::Forward;
        let told = [
            y.read::<Complex32>().map(drop),
            wavecube::fft(&x, 0, norm).map(drop),
            wavecube::fft_in_place(&mut in_place, 0, forward, norm),
            wavecube::frft(&x, 0.5, 0).map(drop),
            wavecube::causal_convolution(&x, &x, 0).map(drop),
            Tensor::from_slice(&device, &one, &[1]).map(drop),
            Tensor::empty(&device, Dtype::F32, false, &[1]).map(drop),
            Device::best().map(drop),
            Device::wgpu().map(drop),
        ]
        .map(|result| result.is_err_and(forked));
        let told = told.iter().all(|&told| told) && Device::all().is_empty();
        // SAFETY: ends the child at once, without what the parent wants to do at its own end.
        unsafe { libc::_exit(i32::from(!told)) };
    }
    assert!(child > 0, "the system forks");
    let mut status = 0;
    for _ in 0..600 {
        // SAFETY: `status` is a place for the answer.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            assert_eq!(status, 0, "the child was told something else");
            // The parent goes on.
            assert_eq!(y.read::<Complex32>().unwrap(), one);
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // SAFETY: the child is this process's own, and has not been waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    panic!("the child waits for ever");
}

#[test]
fn a_machine_without_devices_is_told_what_to_do() {
    if std::env::var_os(ALONE).is_some() {
        return without_a_device();
    }
    // Drivers are found once in the life of a process: another one looks where there are none.
    let mut child = copy("a_machine_without_devices_is_told_what_to_do", ALONE);
    for driver in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        child.env(driver, "/nowhere/driver.json");
    }
    // No OpenGL either: wgpu would take it.
    child.env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere/egl.json");
    child.env("LIBGL_DRIVERS_PATH", "/nowhere").env("CUDA_VISIBLE_DEVICES", "");
    assert_passed(&child.output().unwrap());
}

fn without_a_device() {
    match Device::wgpu() {
        Err(Error::Device { op, reason: DeviceFault::NotFound(_) }) => {
            assert_eq!(op, "Device::wgpu");
        }
        Err(Error::Device { reason: DeviceFault::NotLinked(_), .. }) if !cfg!(feature = "wgpu") => {
        }
        other => panic!("{other:?}"),
    }
    let best = Device::best();
    println!("{best:?}");
    if cfg!(feature = "cpu") {
        assert!(best.is_ok());
        return;
    }
    let error = best.unwrap_err();
    assert!(matches!(error, Error::Device { reason: DeviceFault::NotFound(_), .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("cargo xtask setup") && message.contains("mesa"), "{message}");
}

#[test]
fn runtimes_that_are_not_linked_name_their_feature() {
    for (feature, linked, found) in [
        ("cuda", cfg!(feature = "cuda"), Device::cuda(0)),
        ("cpu", cfg!(feature = "cpu"), Device::cpu()),
    ] {
        if !linked {
            let error = found.unwrap_err();
            assert!(matches!(error, Error::Device { reason: DeviceFault::NotLinked(_), .. }));
            assert!(error.to_string().contains(feature), "{error}");
        }
    }
}

#[test]
fn what_a_device_cannot_hold_is_refused() {
    for device in devices() {
        let terabytes = Tensor::empty(device, Dtype::F32, true, &[1 << 40]);
        assert!(matches!(terabytes, Err(Error::Limit { .. })), "{terabytes:?}");
        let beyond = Tensor::empty(device, Dtype::F32, true, &[usize::MAX, 3]);
        assert!(matches!(beyond, Err(Error::Limit { .. })));
        if !has(device, Dtype::F64) {
            let doubles = Tensor::empty(device, Dtype::F64, false, &[4]);
            assert!(matches!(doubles, Err(Error::Dtype { found: Dtype::F64, .. })));
            let doubles = Tensor::from_slice(device, &[1.0f64], &[1]);
            assert!(matches!(doubles, Err(Error::Dtype { found: Dtype::F64, .. })));
        }

        // One element that strides of zero repeat: a tensor of any size, whose transform is too large.
        let one = Tensor::from_slice(device, &[Complex32::new(1.0, 0.0)], &[1]).unwrap();
        let repeated = |shape: &[usize]| {
            let layout = Layout::strided(shape, &vec![0; shape.len()], 0).unwrap();
            Tensor::from_handle(device, one.handle().clone(), Dtype::F32, true, layout).unwrap()
        };
        for shape in [vec![1 << 40], vec![1 << 40, 4], vec![usize::MAX, 2]] {
            let x = repeated(&shape);
            let m = wavecube::Abcd::fractional_fourier(0.3);
            for result in [
                wavecube::fft(&x, 0, Normalization::Backward),
                wavecube::fourier(&x, false, 0),
                wavecube::lct_shear(&x, &m, 0),
                wavecube::frft(&x, 0.3, 0),
                wavecube::lct_causal(&x, &m, 0.0, 0.1, 0),
                wavecube::czt(&x, 4, 0.0, 0.1, 0),
                wavecube::causal_convolution(&x, &one, 0),
                wavecube::frft_weighted(&x, 0.3, 0),
            ] {
                assert!(
                    matches!(result, Err(Error::Limit { .. } | Error::Shape { .. })),
                    "{result:?}"
                );
            }
        }
        let small = repeated(&[8]);
        let outputs = wavecube::czt(&small, 1 << 40, 0.0, 0.1, 0);
        assert!(matches!(outputs, Err(Error::Limit { .. })), "{outputs:?}");
    }
}

#[test]
fn tensors_refuse_what_does_not_fit() {
    let device = &devices()[0];
    let x = Tensor::from_slice(device, &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]).unwrap();
    let short = Tensor::from_slice(device, &[1.0f32; 5], &[2, 3]);
    assert!(matches!(short, Err(Error::Length { found: 5, .. })));
    assert!(matches!(Layout::strided(&[2, 3], &[3], 0), Err(Error::Strides { .. })));
    assert!(matches!(x.permuted(&[0, 0]), Err(Error::Shape { .. })));
    assert!(matches!(x.narrowed(2, 0, 1), Err(Error::Axis { .. })));
    assert!(matches!(x.narrowed(1, 2, 2), Err(Error::Length { .. })));
    assert!(matches!(x.read::<f64>(), Err(Error::Dtype { .. })));
    assert!(matches!(x.read::<Complex32>(), Err(Error::Dtype { .. })));
    assert_eq!(x.narrowed(1, 1, 2).unwrap().read::<f32>().unwrap(), [2.0, 3.0, 5.0, 6.0]);
    let columns = x.permuted(&[1, 0]).unwrap();
    assert!(matches!(x.reshape(&[5]), Err(Error::Length { found: 5, .. })));
    assert!(matches!(columns.reshape(&[6]), Err(Error::Strides { .. })));
    let split = columns.reshape(&[1, 3, 2, 1]).unwrap();
    assert_eq!(split.read::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
}
