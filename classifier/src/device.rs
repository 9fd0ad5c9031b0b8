//! Where a graph runs: the processor, or an NVIDIA GPU by CUDA.
//!
//! In: what the configuration asks for. Out: what was got, and why not more. `cuda` is strict: where
//! CUDA cannot be used the load fails and says so. Only `auto` falls back, and keeps the reason.

use std::str::FromStr;

/// Where the graph shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// On the processor.
    #[default]
    Cpu,
    /// On an NVIDIA GPU, or not at all.
    Cuda,
    /// On an NVIDIA GPU where that can be and is worth it, else on the processor.
    Auto,
}

impl Device {
    /// All.
    pub const ALL: [Device; 3] = [Device::Cpu, Device::Cuda, Device::Auto];

    /// The name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
            Device::Auto => "auto",
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(name: &str) -> Result<Device, String> {
        let found = Device::ALL.into_iter().find(|device| device.name() == name);
        found.ok_or_else(|| format!("{name:?} is no device; cpu, cuda and auto are"))
    }
}

/// Where a loaded model runs, and how that came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsOn {
    /// Whether it is a GPU.
    pub gpu: bool,
    /// Why `auto` did not take the GPU.
    pub fallback: Option<String>,
}

impl RunsOn {
    /// The processor, as was asked for.
    pub const CPU: RunsOn = RunsOn { gpu: false, fallback: None };

    /// The name in reports and metrics: `cpu` or `cuda`.
    pub fn name(&self) -> &'static str {
        if self.gpu { Device::Cuda.name() } else { Device::Cpu.name() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_go_by_their_names() {
        for device in Device::ALL {
            assert_eq!(device.name().parse(), Ok(device));
        }
        let error = "gpu".parse::<Device>().expect_err("no name");
        assert!(error.contains("\"gpu\"") && error.contains("cuda"), "{error}");
    }
}
