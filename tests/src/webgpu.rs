//! A device that offers a kernel no more than WebGPU guarantees.

use cubecl_wgpu::{
    RuntimeOptions, WgpuSetup, init_device,
    wgpu::{
        Backends, DeviceDescriptor, Features, Instance, InstanceDescriptor, Limits,
        RequestAdapterOptions,
    },
};
use wavecube::Device;

/// The adapter of [`Device::wgpu`], opened with WebGPU's guaranteed limits: 8 storage buffers and 16 KiB of shared
/// memory a kernel, `f32` alone. What wgpu validates, it refuses beyond them, as a browser would. Units of a cube and
/// types are those of the adapter in its [`wavecube::Limits`], since cubecl 0.11 reports these.
///
/// # Panics
/// If there is no adapter.
pub fn webgpu() -> Device {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::all(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let adapter =
        cubecl::future::block_on(instance.request_adapter(&RequestAdapterOptions::default()))
            .expect("an adapter: `cargo xtask setup` installs a software Vulkan driver");
    let offered = adapter.limits();
    let required_limits = Limits {
        max_compute_invocations_per_workgroup: offered.max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x: offered.max_compute_workgroup_size_x,
        max_compute_workgroup_size_y: offered.max_compute_workgroup_size_y,
        max_compute_workgroup_size_z: offered.max_compute_workgroup_size_z,
        min_storage_buffer_offset_alignment: offered.min_storage_buffer_offset_alignment,
        min_uniform_buffer_offset_alignment: offered.min_uniform_buffer_offset_alignment,
        ..Limits::default()
    };
    let descriptor = DeviceDescriptor {
        label: None,
        required_features: Features::empty(),
        required_limits,
        ..DeviceDescriptor::default()
    };
    let (device, queue) = cubecl::future::block_on(adapter.request_device(&descriptor))
        .expect("every adapter has what WebGPU guarantees");
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let device = cubecl::Device::Wgpu(init_device(setup, RuntimeOptions::default()));
    Device::from_client(device.client())
}
