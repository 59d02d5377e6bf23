//! A device that compiles and never runs: the code-generation gate of `cargo xtask codegen`.
//!
//! [`CompileOnly`] is a cubecl server like those of the real runtimes, with the properties of an
//! NVIDIA GPU and no GPU. Its memory holds nothing, every read gives zeros, and a launch compiles
//! the kernel to PTX, once for every distinct kernel. So any op runs on it unchanged, and what it
//! would have launched on that GPU is collected with nothing kernel-specific anywhere. [`assemble`]
//! then has NVIDIA's assembler turn the PTX into machine code and report registers and spills.
//!
//! Needs LLVM, libdevice (in a folder that `CUDA_PATH` names) and `ptxas`; the command above
//! provides all three.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use cubecl_core::{
    CubeCount,
    bytes::Bytes,
    device::{DeviceId, DeviceService, ServerUtilitiesHandle, ServiceId},
    environment::stream::StreamId,
    future::DynFut,
    ir::{
        DeviceIdentity, DeviceProperties, HardwareProperties, MemoryDeviceProperties,
        PhysicalDevice, VectorSize, features::Plane, nvidia::SmArch,
    },
    profile::{Instant, ProfileDuration, TimingMethod},
};
use cubecl_cpp::{
    cuda::{arch::CudaArchitecture, mma::CudaCmmaCompiler},
    shared::register_wmma_features,
};
use cubecl_cuda::{
    CudaCompilationOptions, CudaCompiler, CudaRepresentation, CudaRuntime, compiler::CudaBackend,
};
use cubecl_llvm::{
    nvptx::ptx_version::PtxVersion,
    shared::lowered_features::{GpuTarget, restrict_features},
};
use cubecl_server::{
    allocator::PitchedMemoryLayoutPolicy,
    client::Client,
    compiler::Compiler,
    dry_run::LaunchMode,
    id::KernelId,
    kernel::{CubeKernel, define_kernel},
    logging::ServerLogger,
    memory_management::{ManagedMemoryHandle, MemoryAllocationMode, StreamMemoryReport},
    runtime::Runtime,
    server::{
        BufferBinding, CopyDescriptor, IoError, KernelArguments, ProfileError, ProfilingToken,
        Server, ServerCommunication, ServerError, ServerStorage, ServerUtilities,
    },
    storage::{ComputeStorage, ManagedResource, StorageHandle, StorageId, StorageUtilization},
    validation::{validate_cube_dim, validate_units},
};

/// A GPU to compile for.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The architecture as `ptxas` names it.
    pub arch: &'static str,
    /// A GPU of that architecture.
    pub gpu: &'static str,
    /// Compute capability, two digits.
    version: u32,
    /// Bytes of shared memory that a block may use.
    shared_bytes: usize,
    /// Streaming multiprocessors.
    multiprocessors: u32,
    /// Bytes of device memory.
    memory: u64,
}

/// The GPUs that every kernel is compiled for.
pub const TARGETS: [Target; 2] = [
    Target {
        arch: "sm_80",
        gpu: "A100",
        version: 80,
        shared_bytes: 163 << 10,
        multiprocessors: 108,
        memory: 80 << 30,
    },
    Target {
        arch: "sm_90a",
        gpu: "H100",
        version: 90,
        shared_bytes: 227 << 10,
        multiprocessors: 132,
        memory: 80 << 30,
    },
];

/// The driver's CUDA version that decides how new the PTX may be: 12.8.
const DRIVER: i32 = 12080;
/// Registers of one multiprocessor. A block that needs more cannot be launched.
const REGISTER_FILE: u32 = 65536;

impl Target {
    fn properties(&self) -> DeviceProperties {
        let mut properties = DeviceProperties::new(
            cubecl_core::ir::features::Features::default(),
            MemoryDeviceProperties::new(self.memory / 4, 512).with_max_memory(self.memory),
            HardwareProperties {
                load_width: 128,
                vector_register_count: None,
                plane_size_min: 32,
                plane_size_max: 32,
                max_bindings: 1024,
                max_shared_memory_size: self.shared_bytes,
                max_cube_count: (i32::MAX as u32, 65535, 65535),
                max_units_per_cube: 1024,
                max_cube_dim: (1024, 1024, 64),
                num_streaming_multiprocessors: Some(self.multiprocessors),
                num_tensor_cores: Some(4),
                min_tensor_cores_dim: Some(8),
                num_cpu_cores: None,
                last_level_cache_size: None,
                max_vector_size: VectorSize::MAX,
                cube_mma_reserved_shared_memory: 0,
            },
            TimingMethod::System,
            DeviceIdentity {
                name: format!("{} (compile only)", self.gpu),
                fingerprint: format!("ptx_{}", self.arch),
                physical: Some(PhysicalDevice::default()),
            },
        );
        cubecl_cpp::register_supported_types(&mut properties);
        let arch = CudaArchitecture { version: self.version, tensor_cores: true };
        let sizes = CudaCmmaCompiler::Cpp.supported_cmma_combinations(&arch);
        register_wmma_features(sizes, &mut properties);
        properties.features.plane.insert(Plane::Sync);
        properties.features.plane.insert(Plane::Ops);
        properties.features.plane.insert(Plane::NonUniformControlFlow);
        properties.features.memory_reinterpret = true;
        properties.features.alignment = true;
        properties.features.device_memory_scope = true;
        properties.features.copy_async = true;
        restrict_features(&mut properties, GpuTarget::Nvptx);
        properties
    }

    fn options(&self) -> CudaCompilationOptions {
        let mut options = CudaCompilationOptions {
            arch: Some(SmArch::new(self.version, true)),
            ptx_version: PtxVersion::for_driver(DRIVER),
            ..Default::default()
        };
        options.cpp.warp_size = 32;
        options.cpp.supports_features.grid_constants = true;
        options
    }
}

/// One distinct kernel that was launched.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its name in the source.
    pub name: String,
    /// Its comptime arguments, as the kernel cache sees them.
    pub info: String,
    /// Units in a cube.
    pub units: u32,
    /// The compiled kernel, or why it does not compile.
    pub ptx: Result<Ptx, String>,
}

/// A kernel in NVIDIA's portable assembly.
#[derive(Debug, Clone)]
pub struct Ptx {
    /// The text.
    pub text: String,
    /// Bytes of shared memory that a launch reserves.
    pub shared_bytes: usize,
}

/// A device that compiles what is launched on it, and runs nothing.
pub struct CompileOnly {
    client: Client,
    launched: Launched,
}

type Launched = Arc<Mutex<Vec<Kernel>>>;

impl CompileOnly {
    /// A new device of the kind `target`.
    #[must_use]
    pub fn new(target: &Target) -> Self {
        // Cubecl keys its devices by these numbers, so each new one needs its own.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let id = DeviceId { type_id: 0, index_id: NEXT.fetch_add(1, Ordering::Relaxed) };
        let launched = Launched::default();
        let (utilities, _no_captures) = ServerUtilities::init(
            ServiceId::of::<CompileServer>(id),
            "cuda",
            target.properties(),
            CudaRuntime::target_properties(),
            Arc::new(ServerLogger::default()),
            PitchedMemoryLayoutPolicy::new(512),
        );
        let server = CompileServer {
            utilities: Arc::new(utilities),
            options: target.options(),
            known: HashSet::new(),
            launched: launched.clone(),
        };
        Self { client: Client::init(id, server), launched }
    }

    /// The client to run ops on.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The distinct kernels launched since the last call.
    ///
    /// # Panics
    /// If the device's thread is gone.
    pub fn take(&self) -> Vec<Kernel> {
        // Launches are queued: the barrier is behind all of them.
        let barrier = cubecl_core::future::block_on(self.client.sync());
        barrier.expect("a device that runs nothing cannot fail");
        std::mem::take(&mut *self.launched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the assembler made of a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registers a unit.
    pub registers: u32,
    /// Bytes a unit keeps in local memory, which is off the chip: arrays that found no registers.
    pub stack_bytes: u32,
    /// Bytes a unit writes to and reads from local memory because registers ran out.
    pub spill_bytes: u32,
}

/// Assembles a kernel for `target`. `scratch` is a file name that the call may use.
///
/// # Errors
/// What the assembler said, or that a cube needs more registers than there are.
pub fn assemble(
    ptxas: &Path,
    target: &Target,
    kernel: &Kernel,
    scratch: &Path,
) -> Result<Usage, String> {
    let ptx = kernel.ptx.as_ref().map_err(Clone::clone)?;
    fs::write(scratch, &ptx.text).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let output = Command::new(ptxas)
        .arg(format!("-arch={}", target.arch))
        .args(["-v", "-o", "/dev/null"])
        .arg(scratch)
        .output()
        .map_err(|error| format!("{}: {error}", ptxas.display()))?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(report);
    }
    let usage = read_usage(&report).ok_or_else(|| format!("no figures in: {report}"))?;
    // The hardware hands registers out by eights to each warp of 32.
    let needed = usage.registers.next_multiple_of(8) * kernel.units.next_multiple_of(32);
    if needed > REGISTER_FILE {
        return Err(format!("{needed} registers a cube, there are {REGISTER_FILE}"));
    }
    Ok(usage)
}

/// Reads `ptxas -v`. Functions that were not inlined have lines of their own: the worst counts.
fn read_usage(report: &str) -> Option<Usage> {
    let mut usage = None::<Usage>;
    for line in report.lines() {
        let number_before = |what: &str| -> Option<u32> {
            line.split(what)
                .next()
                .filter(|before| *before != line)?
                .split_whitespace()
                .last()?
                .parse()
                .ok()
        };
        let so_far = usage.unwrap_or_default();
        if let Some(registers) = number_before(" registers") {
            usage = Some(Usage { registers: so_far.registers.max(registers), ..so_far });
        }
        if let Some(stack) = number_before(" bytes stack frame") {
            let spills =
                number_before(" bytes spill stores")? + number_before(" bytes spill loads")?;
            usage = Some(Usage {
                stack_bytes: so_far.stack_bytes.max(stack),
                spill_bytes: so_far.spill_bytes.max(spills),
                ..so_far
            });
        }
    }
    usage
}

/// The server behind [`CompileOnly`].
struct CompileServer {
    utilities: Arc<ServerUtilities>,
    options: CudaCompilationOptions,
    known: HashSet<KernelId>,
    launched: Launched,
}

impl CompileServer {
    fn compile(&self, kernel: &dyn CubeKernel) -> Result<Ptx, String> {
        // The checks of the real runtime, in its order.
        let id = kernel.id();
        validate_cube_dim(&self.utilities.properties, &id).map_err(|e| e.to_string())?;
        validate_units(&self.utilities.properties, &id).map_err(|e| e.to_string())?;
        let definition = define_kernel(kernel).map_err(|e| e.to_string())?;
        let compiled = CudaCompiler::new(CudaBackend::Llvm)
            .compile(definition, &self.options)
            .map_err(|e| e.to_string())?;
        let CudaRepresentation::Llvm(module) = compiled else {
            return Err("the LLVM backend gave C++".into());
        };
        let available = self.utilities.properties.hardware.max_shared_memory_size;
        if module.shared_memory_size > available {
            return Err(format!(
                "{} bytes of shared memory, there are {available}",
                module.shared_memory_size
            ));
        }
        // The text ends in a NUL byte, for C.
        let text = module.ptx.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0);
        Ok(Ptx {
            text: String::from_utf8(text.collect()).map_err(|e| e.to_string())?,
            shared_bytes: module.shared_memory_size,
        })
    }
}

impl core::fmt::Debug for CompileServer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CompileServer").field("kernels", &self.known.len()).finish_non_exhaustive()
    }
}

impl DeviceService for CompileServer {
    fn init(device: DeviceId) -> Self {
        unreachable!("{device:?} is registered with its server by `CompileOnly::new`")
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        self.utilities.clone()
    }
}

impl ServerCommunication for CompileServer {}

impl Server for CompileServer {
    unsafe fn launch(
        &mut self,
        kernel: Box<dyn CubeKernel>,
        _count: CubeCount,
        _arguments: KernelArguments,
        _stream: StreamId,
        _mode: LaunchMode,
    ) {
        let id = kernel.id();
        if !self.known.insert(id.clone()) {
            return;
        }
        let ptx = self.compile(&*kernel);
        self.launched.lock().unwrap_or_else(PoisonError::into_inner).push(Kernel {
            name: id.short_name().into(),
            info: id.to_string(),
            units: id.cube_dim.num_elems(),
            ptx,
        });
    }

    fn read(
        &mut self,
        descriptors: Vec<CopyDescriptor>,
        _stream: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        let zeros = descriptors.iter().map(|descriptor| {
            let bytes = descriptor.shape.iter().product::<usize>() * descriptor.elem_size;
            Bytes::from_bytes_vec(vec![0; bytes])
        });
        let zeros = Ok(zeros.collect());
        Box::pin(async move { zeros })
    }

    fn write(&mut self, _data: Vec<(CopyDescriptor, Bytes)>, _stream: StreamId) {}

    fn initialize_memory(
        &mut self,
        _memory: ManagedMemoryHandle,
        _size: u64,
        _stream: StreamId,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    fn sync(
        &mut self,
        _handles: Vec<BufferBinding>,
        _stream: StreamId,
    ) -> DynFut<Result<(), ServerError>> {
        Box::pin(async { Ok(()) })
    }

    fn check(
        &mut self,
        _handles: Vec<BufferBinding>,
        _stream: StreamId,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    fn flush(&mut self, _stream: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn logger(&self) -> Arc<ServerLogger> {
        self.utilities.logger.clone()
    }

    fn utilities(&self) -> Arc<ServerUtilities> {
        self.utilities.clone()
    }

    fn memory_report(&mut self, _stream: StreamId) -> Option<StreamMemoryReport> {
        None
    }

    fn memory_cleanup(&mut self, _stream: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn allocation_mode(&mut self, _mode: MemoryAllocationMode, _stream: StreamId) {}

    fn start_profile(&mut self, _stream: StreamId) -> Result<ProfilingToken, ServerError> {
        Ok(ProfilingToken { id: 0 })
    }

    fn end_profile(
        &mut self,
        _stream: StreamId,
        _token: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        let now = Instant::now();
        Ok(ProfileDuration::new_system_time(now, now))
    }
}

/// Memory that holds nothing.
struct Nothing;

impl ComputeStorage for Nothing {
    type Resource = ();

    fn alignment(&self) -> usize {
        512
    }

    fn get(&mut self, _handle: &StorageHandle) -> Result<(), IoError> {
        Ok(())
    }

    fn alloc(&mut self, size: u64) -> Result<StorageHandle, IoError> {
        Ok(StorageHandle::new(StorageId::new(), StorageUtilization { offset: 0, size }))
    }

    fn dealloc(&mut self, _id: StorageId) {}

    fn flush(&mut self) {}

    fn bytes_allocated(&self) -> u64 {
        0
    }
}

impl ServerStorage for CompileServer {
    type Storage = Nothing;

    fn get_resource(
        &mut self,
        binding: BufferBinding,
        _stream: StreamId,
    ) -> Result<ManagedResource<()>, ServerError> {
        Ok(ManagedResource::new(binding.memory, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Usage, read_usage};

    #[test]
    fn the_assemblers_report_is_read() {
        let report = "ptxas info    : Compiling entry function 'pass' for 'sm_90a'\n\
                      ptxas info    : Function properties for pass\n    \
                      16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n\
                      ptxas info    : Used 26 registers, used 1 barriers, 416 bytes cmem[0]\n";
        let usage = Usage { registers: 26, stack_bytes: 16, spill_bytes: 12 };
        assert_eq!(read_usage(report), Some(usage));
        assert_eq!(read_usage("ptxas fatal : nothing"), None);
    }
}
