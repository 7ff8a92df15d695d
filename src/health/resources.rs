//! What the process takes of its machine.

use super::Finding;

/// What this process takes, and how busy the machine is. Read from `/proc`; on other systems than Linux there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Resources {
    /// Memory that is resident, in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// The most that may be open, unless without a limit.
    pub descriptor_limit: Option<u64>,
    /// Tasks of the whole machine that run or could, on average of the last minute.
    pub load: f64,
}

impl Resources {
    /// A reading of now. `None` where there is no `/proc`, or it does not say.
    ///
    /// It reads a few small files that the kernel makes up on the spot: tens of microseconds, without waiting for a disk; with
    /// many thousands of open descriptors, more.
    pub fn read() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let text = |path| std::fs::read_to_string(path).ok();
        let (status, limits) = (text("/proc/self/status")?, text("/proc/self/limits")?);
        // The folder itself is open while it is counted.
        let descriptors = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Some(Self {
            resident: resident(&status)?,
            threads: threads(&status)?,
            descriptors: descriptors as u64,
            descriptor_limit: descriptor_limit(&limits),
            load: load(&text("/proc/loadavg")?)?,
        })
    }
}

/// The value of a line of `/proc/self/status`: `VmRSS:    1234 kB`.
fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn resident(status: &str) -> Option<u64> {
    let kibibytes: u64 = line(status, "VmRSS")?.strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn threads(status: &str) -> Option<u64> {
    line(status, "Threads")?.parse().ok()
}

/// `Max open files            1024                 1048576              files`: the soft one.
fn descriptor_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `0.42 0.36 0.30 1/123 4567`: the average of one minute comes first.
fn load(loadavg: &str) -> Option<f64> {
    loadavg.split_whitespace().next()?.parse().ok()
}

/// How much a process may take before it is not healthy any more: degraded from nine tenths of a limit on, unhealthy above it.
///
/// ```
/// use cofferdam::health::{Check, ResourceLimits};
///
/// let limits = ResourceLimits::new().resident(2 << 30).threads(500).descriptor_share(0.8);
/// let check = Check::of("resources", &limits);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResourceLimits {
    resident: Option<u64>,
    threads: Option<u64>,
    descriptors: Option<u64>,
    descriptor_share: Option<f64>,
    load: Option<f64>,
}

impl ResourceLimits {
    /// No limit yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resident memory, in bytes.
    pub fn resident(self, bytes: u64) -> Self {
        Self { resident: Some(bytes), ..self }
    }

    /// Threads.
    pub fn threads(self, threads: u64) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// Open descriptors.
    pub fn descriptors(self, descriptors: u64) -> Self {
        Self { descriptors: Some(descriptors), ..self }
    }

    /// Open descriptors, as a share of the most that may be open.
    pub fn descriptor_share(self, share: f64) -> Self {
        Self { descriptor_share: Some(share), ..self }
    }

    /// Load of the machine.
    pub fn load(self, load: f64) -> Self {
        Self { load: Some(load), ..self }
    }

    /// What such a reading amounts to: the worst of all.
    pub fn judge(&self, found: &Resources) -> Finding {
        let of_all = self.descriptor_share.zip(found.descriptor_limit);
        let of_all = of_all.map(|(share, limit)| share * limit as f64);
        [
            ("bytes resident", found.resident as f64, self.resident.map(|limit| limit as f64)),
            ("threads", found.threads as f64, self.threads.map(|limit| limit as f64)),
            ("open descriptors", found.descriptors as f64, self.descriptors.map(|limit| limit as f64)),
            ("open descriptors", found.descriptors as f64, of_all),
            ("load", found.load, self.load),
        ]
        .into_iter()
        .filter_map(|(what, found, limit)| Some((what, found, limit?)))
        .map(|(what, found, limit)| match () {
            () if found > limit => Finding::unhealthy(format!("{found} {what}, above {limit}")),
            () if found >= limit * 0.9 => Finding::degraded(format!("{found} {what}, close to {limit}")),
            () => Finding::healthy(),
        })
        .fold(Finding::healthy(), Finding::or_worse)
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read_as_they_are_written() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmRSS:\t    1234 kB\nThreads:\t7\n";
        assert_eq!((resident(status), threads(status)), (Some(1234 * 1024), Some(7)));
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             1                    2                    processes\n\
                      Max open files            1024                 1048576              files\n";
        assert_eq!(descriptor_limit(limits), Some(1024));
        assert_eq!(descriptor_limit(&limits.replace("1024 ", "unlimited ")), None);
        assert_eq!(load("0.42 0.36 0.30 1/123 4567\n"), Some(0.42));
        assert_eq!((resident("VmRSS: x kB"), threads(""), load("")), (None, None, None));
    }
}
