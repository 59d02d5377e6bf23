//! Which device to run on.
//!
//! Devices are enumerated before any is opened (opening one that is not there panics in Burn), and
//! the choice comes with its reason.

use std::{fmt, str::FromStr};

use burn::tensor::Device;

use crate::error::{Error, Result};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU where there is one, Burn's own CPU backend otherwise.
    #[default]
    Auto,
    /// The first adapter of wgpu, a software one included.
    Wgpu,
    /// The first CUDA device.
    Cuda,
    /// `CubeCL`'s CPU runtime.
    Cpu,
    /// Burn's own CPU backend, without kernels of this library.
    Flex,
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "auto" => Self::Auto,
            "wgpu" => Self::Wgpu,
            "cuda" => Self::Cuda,
            "cpu" => Self::Cpu,
            "flex" => Self::Flex,
            _ => {
                let (name, found) = ("the device", name.to_owned());
                let expected = "auto, wgpu, cuda, cpu or flex";
                return Err(Error::Value { name, expected, found });
            }
        })
    }
}

/// A device, and why it.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The device, without autodiff.
    pub device: Device,
    /// Its name, `wgpu: llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// Why it was chosen.
    pub reason: &'static str,
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

/// Finds the device for `choice`.
///
/// # Errors
///
/// When the runtime was not built in, or the machine has no such device.
pub fn select(choice: DeviceChoice) -> Result<Selected> {
    match choice {
        DeviceChoice::Flex => Ok(flex("asked for")),
        DeviceChoice::Cuda => cuda("asked for"),
        DeviceChoice::Wgpu => wgpu("asked for"),
        DeviceChoice::Cpu => cpu("asked for"),
        DeviceChoice::Auto => {
            if let Ok(found) = cuda("the first CUDA device") {
                return Ok(found);
            }
            match wgpu_adapters().into_iter().find(|adapter| adapter.hardware) {
                Some(adapter) => Ok(adapter.selected("the first GPU that wgpu finds")),
                None if wgpu_adapters().is_empty() => Ok(flex("no GPU and no driver found")),
                None => Ok(flex("no GPU found, and a software driver trains more slowly")),
            }
        }
    }
}

fn flex(reason: &'static str) -> Selected {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Selected { device: Device::flex(), name: format!("flex: CPU, {cores} cores"), reason }
}

struct Adapter {
    device: Device,
    name: String,
    hardware: bool,
}

impl Adapter {
    fn selected(self, reason: &'static str) -> Selected {
        Selected { device: self.device, name: self.name, reason }
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu"))]
fn adapters(runtime: &str, kind: burn::tensor::DeviceType) -> Vec<Adapter> {
    Device::enumerate(kind)
        .into_iter()
        .map(|device| {
            let identity = device.identity();
            let (name, hardware) = match identity {
                Some(identity) => (identity.name, identity.physical.is_some()),
                None => ("unnamed".to_owned(), false),
            };
            Adapter { device, name: format!("{runtime}: {name}"), hardware }
        })
        .collect()
}

fn wgpu_adapters() -> Vec<Adapter> {
    #[cfg(feature = "wgpu")]
    {
        adapters("wgpu", burn::tensor::DeviceType::Wgpu)
    }
    #[cfg(not(feature = "wgpu"))]
    {
        Vec::new()
    }
}

fn wgpu(reason: &'static str) -> Result<Selected> {
    if !cfg!(feature = "wgpu") {
        return Err(Error::Device {
            missing: "this program was built without wgpu",
            advice: "build it with --features wgpu",
        });
    }
    let mut found = wgpu_adapters();
    found.sort_by_key(|adapter| !adapter.hardware);
    match found.into_iter().next() {
        Some(adapter) => Ok(adapter.selected(reason)),
        None => Err(Error::Device {
            missing: "wgpu finds no adapter on this machine",
            advice: "a software Vulkan driver is enough (Debian and Ubuntu: mesa-vulkan-drivers), or take \
                     --device flex",
        }),
    }
}

fn cuda(reason: &'static str) -> Result<Selected> {
    #[cfg(feature = "cuda")]
    {
        if let Some(adapter) = adapters("cuda", burn::tensor::DeviceType::Cuda).into_iter().next() {
            return Ok(adapter.selected(reason));
        }
        Err(Error::Device {
            missing: "no CUDA device or driver on this machine",
            advice: "take --device auto",
        })
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = reason;
        Err(Error::Device {
            missing: "this program was built without CUDA",
            advice: "build it with --features cuda",
        })
    }
}

fn cpu(reason: &'static str) -> Result<Selected> {
    #[cfg(feature = "cpu")]
    {
        if let Some(adapter) = adapters("cpu", burn::tensor::DeviceType::Cpu).into_iter().next() {
            return Ok(adapter.selected(reason));
        }
        Err(Error::Device {
            missing: "CubeCL's CPU runtime reports no device",
            advice: "take --device flex",
        })
    }
    #[cfg(not(feature = "cpu"))]
    {
        let _ = reason;
        Err(Error::Device {
            missing: "this program was built without CubeCL's CPU runtime",
            advice: "build it with --features cpu, or take --device flex, which trains faster",
        })
    }
}
