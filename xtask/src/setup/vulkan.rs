//! A Vulkan adapter: a GPU's when there is one, else Mesa's software driver.
//!
//! The Vulkan loader reads small JSON files, one a driver. A driver without its hardware yields
//! no adapter, so a file counts only when the device node that its driver opens is there too.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::{Missing, apt};
use crate::shell::say;

/// Makes sure that some adapter is there.
pub(crate) fn provide() -> Result<(), Missing> {
    if !cfg!(target_os = "linux") {
        say("setup", "GPU: Metal or Direct3D 12 comes with this system");
        return Ok(());
    }
    let drivers = drivers();
    if has_loader()
        && let Some(driver) = drivers.iter().find(|driver| driver.is_usable())
    {
        say("setup", &format!("Vulkan: {}", driver.describe()));
        return Ok(());
    }
    let why = if drivers.is_empty() {
        "no Vulkan driver is installed, and the software driver does for everything here"
    } else {
        "no Vulkan driver finds its hardware, and the software driver does for everything here"
    };
    apt::install(&["mesa-vulkan-drivers", "libvulkan1"], why)
}

struct Driver {
    /// The JSON file's name, which names the driver: `lvp_icd.x86_64.json`.
    name: String,
}

impl Driver {
    fn is_software(&self) -> bool {
        self.name.contains("lvp") || self.name.contains("swiftshader")
    }

    fn is_usable(&self) -> bool {
        let any = |nodes: &[&str]| nodes.iter().any(|node| Path::new(node).exists());
        if self.is_software() {
            true
        } else if self.name.contains("nvidia") {
            any(&["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"])
        } else if self.name.contains("dzn") {
            any(&["/dev/dxg"])
        } else {
            any(&["/dev/dri/renderD128", "/dev/dri/renderD129", "/dev/mali0", "/dev/kgsl-3d0"])
        }
    }

    fn describe(&self) -> String {
        if self.is_software() {
            format!("no GPU driver, so the software driver is used ({})", self.name)
        } else {
            format!("a GPU's driver is here ({})", self.name)
        }
    }
}

/// The installed drivers, hardware first.
fn drivers() -> Vec<Driver> {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].into_iter().find_map(env::var_os);
    let files: Vec<PathBuf> = if let Some(named) = named {
        env::split_paths(&named).filter(|file| file.is_file()).collect()
    } else {
        folders()
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
            .collect()
    };
    let mut drivers: Vec<Driver> = files
        .iter()
        .filter_map(|file| file.file_name())
        .map(|name| Driver { name: name.to_string_lossy().into_owned() })
        .collect();
    drivers.sort_by_key(|driver| (driver.is_software(), driver.name.clone()));
    drivers
}

/// Where the loader looks, in its own order.
fn folders() -> Vec<PathBuf> {
    let data = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")));
    let mut folders: Vec<PathBuf> =
        ["/etc", "/usr/local/share", "/usr/share"].iter().map(PathBuf::from).collect();
    folders.extend(data);
    folders.iter().map(|folder| folder.join("vulkan/icd.d")).collect()
}

/// Whether the loader library is where the dynamic linker looks.
fn has_loader() -> bool {
    let mut folders: Vec<PathBuf> =
        env::var_os("LD_LIBRARY_PATH").iter().flat_map(env::split_paths).collect();
    for base in ["/usr/lib", "/lib", "/usr/lib64", "/usr/local/lib"] {
        folders.push(base.into());
        folders.push(Path::new(base).join(format!("{}-linux-gnu", env::consts::ARCH)));
    }
    folders.iter().any(|folder| folder.join("libvulkan.so.1").exists())
}
