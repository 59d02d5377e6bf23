//! Choosing a device, and what is kept with it: its limits, plans and uploaded tables.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use cubecl::{
    client::Client,
    device::{Device as Backend, DeviceUnavailable, RuntimeId, WgpuDeviceKind},
    server::Handle,
};
use wavecube_core::{DeviceFault, Dtype, Error, Limits, Result};
use wavecube_kernels::fft::{FftPlan, FftProblem, Table, upload_packed};

use crate::process::{check_process, watch_forks};

/// Plans kept for each device; beyond it the cache starts anew.
const PLANS: usize = 512;
/// Buffers of tables kept on each device; beyond it the cache starts anew.
const TABLES: usize = 1024;

/// A device that tensors live on. Cloning is cheap and refers to the same device.
///
/// On Linux, where no `XDG_RUNTIME_DIR` is set, Mesa's layer that sorts Vulkan devices says so on standard error, six times
/// while a device is opened. It looks for a display that nobody here needs; no call can tell it not to (cubecl 0.11.3, wgpu
/// 30, Mesa 22.3), the environment can: set the variable to any folder, or `NODEVICE_SELECT=1`.
///
/// A device does not outlive a fork: in the child, operations and reads return [`DeviceFault::Forked`]. A process that
/// forks workers opens its devices in them.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    limits: Limits,
    name: String,
    plans: Mutex<HashMap<FftProblem, Arc<FftPlan>>>,
    tables: Mutex<HashMap<(Vec<Table>, Dtype), Handle>>,
    lct: crate::lct::Kept,
    qmatmul: crate::qmatmul::Measured,
}

impl Device {
    /// The best device of this machine among the runtimes that this build links: CUDA or HIP, then
    /// a GPU that WGPU finds, then a software driver of WGPU, then the CPU runtime.
    ///
    /// # Errors
    /// [`Error::Device`] if no runtime is linked, none of them finds a device, or the process has forked since a device
    /// was opened.
    ///
    /// ```
    /// let device = wavecube::Device::best()?;
    /// println!("{device}");
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn best() -> Result<Self> {
        check_process("Device::best")?;
        Self::all().into_iter().next().ok_or(Error::Device {
            op: "Device::best",
            reason: DeviceFault::NotFound("device that this build's runtimes can use"),
        })
    }

    /// Every device of this machine that this build can use, best first; none in a process that has forked since a
    /// device was opened.
    pub fn all() -> Vec<Self> {
        if check_process("Device::all").is_err() {
            return Vec::new();
        }
        let order =
            [RuntimeId::Cuda, RuntimeId::Hip, RuntimeId::Metal, RuntimeId::Wgpu, RuntimeId::Cpu];
        let mut backends = Backend::enumerate_all();
        backends.sort_by_key(|b| order.iter().position(|id| *id == b.runtime()));
        backends.iter().map(Self::of_backend).collect()
    }

    /// The CUDA device of this index.
    ///
    /// # Errors
    /// [`Error::Device`] if the `cuda` feature is off or the machine has no such device.
    pub fn cuda(index: usize) -> Result<Self> {
        Self::found(Backend::cuda(index), "Device::cuda", "cuda", "CUDA device of this index")
    }

    /// The device that WGPU considers best, which may be a software driver.
    ///
    /// # Errors
    /// [`Error::Device`] if the `wgpu` feature is off or no adapter is found.
    pub fn wgpu() -> Result<Self> {
        check_process("Device::wgpu")?;
        let all = Backend::enumerate_all();
        let wgpu = all.into_iter().find(|backend| backend.runtime() == RuntimeId::Wgpu);
        match wgpu {
            Some(backend) => Ok(Self::of_backend(&backend)),
            None => Self::found(
                Backend::wgpu(WgpuDeviceKind::default()),
                "Device::wgpu",
                "wgpu",
                "Vulkan, Metal or DX12 adapter",
            ),
        }
    }

    /// The CPU runtime.
    ///
    /// # Errors
    /// [`Error::Device`] if the `cpu` feature is off.
    pub fn cpu() -> Result<Self> {
        Self::found(Backend::cpu(), "Device::cpu", "cpu", "CPU runtime")
    }

    /// The device behind a client that the caller already has.
    pub fn from_client(client: Client) -> Self {
        let name = client.name().to_owned();
        Self::new(client, name)
    }

    fn found(
        backend: std::result::Result<Backend, DeviceUnavailable>,
        op: &'static str,
        feature: &'static str,
        what: &'static str,
    ) -> Result<Self> {
        check_process(op)?;
        match backend {
            Ok(backend) => Ok(Self::of_backend(&backend)),
            Err(DeviceUnavailable::NotLinked(_)) => {
                Err(Error::Device { op, reason: DeviceFault::NotLinked(feature) })
            }
            Err(_) => Err(Error::Device { op, reason: DeviceFault::NotFound(what) }),
        }
    }

    fn of_backend(backend: &Backend) -> Self {
        Self::new(backend.client(), format!("{backend:?}"))
    }

    fn new(client: Client, name: String) -> Self {
        watch_forks();
        let limits = wavecube_kernels::limits(&client);
        Self {
            inner: Arc::new(Inner {
                client,
                limits,
                name,
                plans: Mutex::default(),
                tables: Mutex::default(),
                lct: crate::lct::Kept::default(),
                qmatmul: Mutex::default(),
            }),
        }
    }

    /// The client, for launching other kernels on the same device.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The limits that plans read.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The runtime's name for the device.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Forgets every plan and every choice and frees every table kept with the device. Files of choices stay.
    pub fn clear_cache(&self) {
        self.inner.plans.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.inner.tables.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.inner.lct.clear();
        self.inner.qmatmul.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// How many transforms took another factorisation than the kernel's own because `|b|` was next to
    /// zero, since the device was opened. See [`lct_shear`](crate::lct_shear).
    pub fn degenerate_hits(&self) -> u64 {
        self.inner.lct.degenerate_hits()
    }

    pub(crate) fn lct(&self) -> &crate::lct::Kept {
        &self.inner.lct
    }

    pub(crate) fn measured(&self) -> &crate::qmatmul::Measured {
        &self.inner.qmatmul
    }

    /// The plan of `problem`, made once and kept.
    ///
    /// # Errors
    /// As [`FftPlan::new`]; [`Error::Device`] if the process has forked since the device was opened.
    pub fn plan(&self, problem: &FftProblem) -> Result<Arc<FftPlan>> {
        check_process("fft")?;
        let mut plans = self.inner.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(problem) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(FftPlan::new(problem, self.limits())?);
        if plans.len() >= PLANS {
            plans.clear();
        }
        plans.insert(problem.clone(), Arc::clone(&plan));
        Ok(plan)
    }

    /// The tables of a plan on this device, uploaded once and kept.
    pub(crate) fn tables(&self, plan: &FftPlan) -> Vec<Handle> {
        let compute = plan.dtype.compute();
        let mut kept = self.inner.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TABLES {
            kept.clear();
        }
        plan.tables
            .iter()
            .map(|tables| {
                kept.entry((tables.clone(), compute))
                    .or_insert_with(|| upload_packed(self.client(), tables, compute))
                    .clone()
            })
            .collect()
    }

    /// Whether both names refer to the same device.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
            || self.client().service_id() == other.client().service_id()
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.name()).field("limits", self.limits()).finish()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
