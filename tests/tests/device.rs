//! Devices and tensors: what is missing, too large, or of the wrong kind.

use std::process::Command;

use wavecube::{Complex32, Device, DeviceFault, Dtype, Error, Layout, Normalization, Tensor};
use wavecube_testing::{devices, has};

/// Set for the copy of this program that is to find no device.
const ALONE: &str = "WAVECUBE_TEST_WITHOUT_DEVICE";

#[test]
fn a_machine_without_devices_is_told_what_to_do() {
    if std::env::var_os(ALONE).is_some() {
        return without_a_device();
    }
    // Drivers are found once in the life of a process: another one looks where there are none.
    let name = "device::a_machine_without_devices_is_told_what_to_do";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]).env(ALONE, "1");
    for driver in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        child.env(driver, "/nowhere/driver.json");
    }
    // No OpenGL either: wgpu would take it.
    child.env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere/egl.json");
    child.env("LIBGL_DRIVERS_PATH", "/nowhere").env("CUDA_VISIBLE_DEVICES", "");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
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
}
