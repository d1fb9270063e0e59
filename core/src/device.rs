//! Which device computes: chosen at run time, never by default.
//!
//! `DispatchDevice::default()` is CUDA whenever that backend is compiled in, GPU or not, and using CUDA without a driver panics in a server
//! thread. So nothing here relies on defaults, and CUDA is probed first.

use anyhow::{Result, anyhow};
use std::fmt;
use std::str::FromStr;

/// The one backend of the project: device chosen at run time, autodiff included.
pub type Bk = burn::Dispatch;
/// A device of [`Bk`].
pub type Device = burn::DispatchDevice;
/// Gradients of one backward pass.
pub type Grads = <Bk as burn::tensor::backend::AutodiffBackend>::Gradients;

/// What `--device` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// CUDA where it can be had, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This CUDA device.
    Cuda(usize),
}
impl FromStr for DeviceChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("unknown device `{text}`, expected `auto`, `cpu` or `cuda:N`")),
        }
    }
}
impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// The device that was chosen, and why.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The device, without autodiff.
    pub device: Device,
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// Why the CPU, when `auto` would have liked a GPU.
    pub reason: Option<String>,
}

/// The CPU.
#[must_use]
pub fn cpu() -> Device {
    Device::Flex(burn_flex::FlexDevice)
}
/// True where tables and dense parameters live in the same memory as the program.
#[must_use]
pub fn is_host(device: &Device) -> bool {
    *device == cpu()
}

/// Resolves a choice.
///
/// # Errors
/// A CUDA device that was asked for by name and cannot be had; the message says which part is missing.
pub fn choose(choice: DeviceChoice) -> Result<Chosen> {
    let on_cpu = |reason| Chosen { device: cpu(), name: "cpu".into(), reason };
    match choice {
        DeviceChoice::Cpu => Ok(on_cpu(None)),
        DeviceChoice::Auto => Ok(open_cuda(0).unwrap_or_else(|why| on_cpu(Some(why)))),
        DeviceChoice::Cuda(n) => open_cuda(n).map_err(|why| {
            anyhow!("`--device cuda:{n}` cannot be had: {why}; use `--device cpu`, or `auto` to take a GPU only when there is one")
        }),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_n: usize) -> Result<Chosen, String> {
    Err("built without CUDA; `cargo build --features cuda` adds it".into())
}

/// A CUDA device, or what is missing for it. Loads libraries and counts devices, and starts nothing that could panic.
#[cfg(feature = "cuda")]
fn open_cuda(n: usize) -> Result<Chosen, String> {
    use cudarc::{driver, nvrtc};
    #[allow(unsafe_code)]
    // SAFETY: only opens the shared libraries to see whether they are there.
    let (has_driver, has_nvrtc) = unsafe { (driver::sys::is_culib_present(), nvrtc::sys::is_culib_present()) };
    if !has_driver {
        return Err("no NVIDIA driver (libcuda.so is not found)".into());
    }
    if !has_nvrtc {
        return Err("no NVRTC (libnvrtc.so is not found), which compiles kernels at run time".into());
    }
    let root = std::env::var("CUDA_PATH").unwrap_or_else(|_| "/usr/local/cuda".into());
    let include = std::path::Path::new(&root).join("include");
    if !include.is_dir() {
        return Err(format!("no CUDA headers in `{}`, which NVRTC needs (set CUDA_PATH)", include.display()));
    }
    let count = driver::CudaContext::device_count().map_err(|error| format!("the CUDA driver does not answer: {error:?}"))?;
    if usize::try_from(count).is_ok_and(|count| n < count) {
        let device = Device::Cuda(burn::backend::cuda::CudaDevice::new(n));
        return Ok(Chosen { device, name: format!("cuda:{n}"), reason: None });
    }
    Err(format!("this machine has {count} CUDA device(s), numbered from 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_parse_and_print() {
        for (text, choice) in [("auto", DeviceChoice::Auto), ("cpu", DeviceChoice::Cpu), ("cuda:3", DeviceChoice::Cuda(3))] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert!("gpu".parse::<DeviceChoice>().unwrap_err().contains("expected `auto`, `cpu` or `cuda:N`"));
    }

    #[test]
    fn cuda_by_name_is_an_error_where_there_is_none() {
        if open_cuda(0).is_err() {
            let error = choose(DeviceChoice::Cuda(0)).unwrap_err().to_string();
            assert!(error.contains("cannot be had"), "{error}");
            assert!(choose(DeviceChoice::Auto).unwrap().reason.is_some());
        }
    }
}
