//! Reads /proc and the control groups, for one process and for the machine.
//!
//! Each read takes a few small files from the kernel's memory, so it runs on the prober's thread. It never fails: what cannot
//! be read is not measured.

use std::fs;
use std::path::{Path, PathBuf};

/// The resources that a process uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// Seconds of CPU time since the process began.
    pub(crate) cpu_seconds: f64,
    /// Resident bytes; `None` while the process executes another program.
    pub(crate) memory: Option<u64>,
    /// Threads.
    pub(crate) threads: u64,
    /// Open descriptors.
    pub(crate) open_fds: Option<u64>,
}

/// The state of a process that has ended and is not reaped.
const ZOMBIE: &str = "Z";
/// The most descriptors that are counted one by one; counting more would delay other checks.
const COUNTED: usize = 20_000;

impl Usage {
    /// Reads /proc/PID; `None` if the process has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let home = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(home.join("stat")).ok()?;
        Some(Self { open_fds: open_fds(&home.join("fd")), ..Self::parse(&stat)? })
    }

    /// Reads a stat line. The process name may hold blanks and parentheses, so the fields are counted from the end of the name.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of these is field 3 in proc(5).
        let field = |number: usize| fields.get(number - 3).copied();
        if field(3)? == ZOMBIE {
            return None;
        }
        let number = |n: usize| field(n).and_then(|text| text.parse::<u64>().ok());
        let ticks = number(14)?.saturating_add(number(15)?);
        Some(Self {
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            memory: number(24)?.checked_mul(rustix::param::page_size() as u64).filter(|memory| *memory > 0),
            threads: number(20)?,
            open_fds: None,
        })
    }
}

/// The number of open descriptors. Since Linux 6.2 it is the size of the directory; before, the size is 0 and they are counted.
fn open_fds(directory: &Path) -> Option<u64> {
    let size = fs::metadata(directory).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let counted = fs::read_dir(directory).ok()?.take(COUNTED).count();
    (counted < COUNTED).then_some(counted as u64)
}

/// The limits that apply to a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ResourceLimits {
    /// CPUs: the quota of the control group, else the CPUs of the machine.
    pub(crate) cpus: f64,
    /// Bytes: the lowest limit of the control groups, else the memory of the machine.
    pub(crate) memory: u64,
}

impl ResourceLimits {
    /// Reads the limits of a process; those of the machine if the process has none.
    pub(crate) fn of(pid: u32) -> Self {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut limits = Self { cpus: cpus(), memory: memory().map_or(u64::MAX, |memory| memory.total) };
        for (root, path, version) in mounted(&groups) {
            for group in Path::new(path.trim_start_matches('/')).ancestors() {
                limits.narrow(&Path::new(root).join(group), version);
            }
        }
        limits
    }

    fn narrow(&mut self, group: &Path, version: Version) {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<f64>().ok();
        let (memory, cpus) = match version {
            Version::Two => {
                let quota = read("cpu.max").and_then(|text| {
                    let (quota, period) = text.trim().split_once(' ')?;
                    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
                });
                (number("memory.max"), quota)
            }
            Version::One => {
                let quota = number("cpu.cfs_quota_us").zip(number("cpu.cfs_period_us"));
                (number("memory.limit_in_bytes"), quota.map(|(quota, period)| quota / period))
            }
        };
        if let Some(memory) = memory.filter(|memory| *memory >= 1.0) {
            self.memory = self.memory.min(memory as u64);
        }
        if let Some(cpus) = cpus.filter(|cpus| cpus.is_finite() && *cpus > 0.0) {
            self.cpus = self.cpus.min(cpus);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where the control groups of a /proc/PID/cgroup are mounted by convention: the unified hierarchy (version 2), and the two
/// hierarchies of version 1 that limit CPU and memory.
fn mounted(groups: &str) -> Vec<(&'static str, &str, Version)> {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let owns = |name: &str| controllers.split(',').any(|controller| controller == name);
            if controllers.is_empty() {
                Some(("/sys/fs/cgroup", path, Version::Two))
            } else if owns("memory") {
                Some(("/sys/fs/cgroup/memory", path, Version::One))
            } else if owns("cpu") {
                Some(("/sys/fs/cgroup/cpu", path, Version::One))
            } else {
                None
            }
        })
        .collect()
}

/// The machine's CPUs.
fn cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

/// The machine's memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
}

/// Reads /proc/meminfo.
pub(crate) fn memory() -> Option<Memory> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    let (total, available) = (kib("MemTotal:")?.saturating_mul(1_024), kib("MemAvailable:")?.saturating_mul(1_024));
    Some(Memory { total, available }).filter(|memory| memory.total > 0)
}

/// The machine's CPU time since it started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    pub(crate) busy: u64,
    pub(crate) all: u64,
}

/// Reads the first line of /proc/stat.
pub(crate) fn ticks() -> Option<Ticks> {
    parse_ticks(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse_ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; the guest times after these are in user and nice already.
    let counts: Vec<u64> = line.split_ascii_whitespace().take(8).map_while(|text| text.parse().ok()).collect();
    let all = counts.iter().sum();
    let idle: u64 = counts.iter().skip(3).take(2).sum();
    (counts.len() >= 4).then_some(Ticks { busy: all - idle, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat =
            "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 1000 2000000 300 18446744073709551615";
        let usage = Usage::parse(stat).unwrap();
        assert_eq!(usage.threads, 7);
        assert_eq!(usage.memory, Some(300 * rustix::param::page_size() as u64));
        assert_eq!(Usage::parse(&stat.replace(" 300 ", " 0 ")).unwrap().memory, None, "not measured is not zero");
        assert!((usage.cpu_seconds - 2.0).abs() < 0.001, "{usage:?}");
        assert_eq!(Usage::parse(&stat.replace(" S ", " Z ")), None);
        assert_eq!(Usage::parse("42 (cut"), None);
    }

    #[test]
    fn this_process_is_alive_and_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        let memory = usage.memory.unwrap();
        assert!(memory > 100_000 && usage.threads >= 1 && usage.open_fds.unwrap() >= 3, "{usage:?}");
        assert_eq!(Usage::of(u32::MAX), None);
        let limits = ResourceLimits::of(std::process::id());
        assert!(limits.cpus > 0.0 && limits.memory >= memory, "{limits:?}");
    }

    #[test]
    fn the_nearest_limit_counts() {
        let root = std::env::temp_dir().join(format!("heald-probe-cgroup-{}", std::process::id()));
        let inner = root.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(root.join("a/memory.max"), "1000000\n").unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(inner.join("cpu.max"), "50000 100000\n").unwrap();
        fs::write(root.join("memory.limit_in_bytes"), "500\n").unwrap();
        fs::write(root.join("cpu.cfs_quota_us"), "-1\n").unwrap();
        fs::write(root.join("cpu.cfs_period_us"), "100000\n").unwrap();
        let mut limits = ResourceLimits { cpus: 2.0, memory: 1_000_000_000 };
        for group in inner.ancestors().take(2) {
            limits.narrow(group, Version::Two);
        }
        assert_eq!(limits, ResourceLimits { cpus: 0.5, memory: 1_000_000 });
        limits.narrow(&root, Version::One);
        assert_eq!(limits, ResourceLimits { cpus: 0.5, memory: 500 });
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn control_groups_of_both_versions_are_found() {
        assert_eq!(
            mounted("9:name=systemd:/x\n4:memory:/m\n2:cpu,cpuacct:/c\n0::/u\n"),
            [
                ("/sys/fs/cgroup/memory", "/m", Version::One),
                ("/sys/fs/cgroup/cpu", "/c", Version::One),
                ("/sys/fs/cgroup", "/u", Version::Two),
            ]
        );
    }

    #[test]
    fn busy_time_is_all_but_idle_and_waiting() {
        assert_eq!(parse_ticks("cpu  10 5 20 100 7 1 2 3 99 99\ncpu0 1"), Some(Ticks { busy: 41, all: 148 }));
        assert_eq!(parse_ticks("intr 1"), None);
        assert!(ticks().unwrap().all > 0 && memory().unwrap().available > 0);
    }
}
