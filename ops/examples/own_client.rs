//! A tensor over a buffer of a cubecl client that the program already has.

use cubecl::prelude::*;
use wavecube::{Complex32, Device, Dtype, Layout, Normalization, Tensor, fft};

fn main() -> wavecube::Result<()> {
    // The program's own client and buffer: four rows of eight complex numbers.
    let client = cubecl::Device::default().client();
    let ones = vec![1.0f32; 2 * 4 * 8];
    let handle = client.create_from_slice(f32::as_bytes(&ones));

    let device = Device::from_client(client);
    let layout = Layout::contiguous(&[4, 8]);
    let x = Tensor::from_handle(&device, handle, Dtype::F32, true, layout)?;
    // Along the columns, without moving anything.
    let y = fft(&x, 0, Normalization::Backward)?;
    println!("{:?}", &y.read::<Complex32>()?[..2]);
    Ok(())
}
