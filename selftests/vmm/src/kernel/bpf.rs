// SPDX-License-Identifier: GPL-2.0
//! BPF programs at the entry or exit of a function of a kernel module: they do nothing, and the kernel counts their runs.

use crate::kernel::btf;
use anyhow::{Context, Result};
use std::fs;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `BPF_*` of `enum bpf_cmd`.
mod command {
    pub const PROG_LOAD: u32 = 5;
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub const BTF_GET_FD_BY_ID: u32 = 19;
    pub const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub const BTF_GET_NEXT_ID: u32 = 23;
    pub const ENABLE_STATS: u32 = 32;
}

/// `BPF_PROG_TYPE_TRACING`.
const TRACING: u32 = 26;

/// Where a program runs. The numbers are those of `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `BPF_TRACE_FENTRY`.
    Entry = 24,
    /// `BPF_TRACE_FEXIT`.
    Exit = 25,
}

impl Place {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Entry, Self::Exit];
}

/// The attributes of `PROG_LOAD`, as far as they are used. C: `union bpf_attr`.
#[derive(Default)]
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_btf_obj_fd: u32,
    padding: u32,
}

#[derive(Default)]
#[repr(C)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

/// Of the commands that go by a number.
#[derive(Default)]
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
}

#[derive(Default)]
#[repr(C)]
struct ByFd {
    fd: u32,
    info_len: u32,
    info: u64,
}

/// C: `struct bpf_btf_info`.
#[derive(Default)]
#[repr(C)]
struct BtfInfo {
    btf: u64,
    btf_size: u32,
    id: u32,
    name: u64,
    name_len: u32,
    kernel_btf: u32,
}

/// `r0 = 0; exit`.
const NOTHING: [u64; 2] = [0xb7, 0x95];

/// A program that is there for as long as this exists.
pub struct Program {
    program: OwnedFd,
    _link: OwnedFd,
    _statistics: OwnedFd,
}

impl Program {
    /// Have one run at `place` of `function` of `module`; the error number if the kernel refuses that.
    pub fn attach(module: &str, function: &str, place: Place) -> Result<Result<Self, i32>> {
        let target = btf::function(module, function)?;
        let btf = btf_of(module)?;
        let mut load = ProgLoad {
            prog_type: TRACING,
            insn_cnt: NOTHING.len() as u32,
            insns: NOTHING.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            expected_attach_type: place as u32,
            attach_btf_id: target,
            attach_btf_obj_fd: btf.as_raw_fd() as u32,
            ..ProgLoad::default()
        };
        let program = open(command::PROG_LOAD, &mut load).context("load a BPF program")?;
        // `BPF_STATS_RUN_TIME` is zero.
        let statistics =
            open(command::ENABLE_STATS, &mut ById::default()).context("statistics of BPF")?;
        let mut attributes = RawTracepoint {
            prog_fd: program.as_raw_fd() as u32,
            ..RawTracepoint::default()
        };
        Ok(match open(command::RAW_TRACEPOINT_OPEN, &mut attributes) {
            Ok(link) => Ok(Self {
                program,
                _link: link,
                _statistics: statistics,
            }),
            Err(error) => Err(error.raw_os_error().context("no error number")?),
        })
    }

    /// How often it has run.
    pub fn runs(&self) -> Result<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let text = fs::read_to_string(&path).context(path)?;
        let count = text.lines().find_map(|line| line.strip_prefix("run_cnt:"));
        let count = count.context("the kernel counts no runs")?;
        count.trim().parse().context("run_cnt")
    }
}

/// The kernel's own BTF of `module`.
fn btf_of(module: &str) -> Result<OwnedFd> {
    let mut by_id = ById::default();
    loop {
        call(command::BTF_GET_NEXT_ID, &mut by_id)
            .with_context(|| format!("the kernel has no BTF of {module}"))?;
        by_id.id = by_id.next;
        let btf = open(
            command::BTF_GET_FD_BY_ID,
            &mut ById {
                id: by_id.id,
                next: 0,
            },
        )
        .context("open a BTF object")?;
        let mut name = [0u8; 64];
        let mut info = BtfInfo {
            name: name.as_mut_ptr() as u64,
            name_len: name.len() as u32,
            ..BtfInfo::default()
        };
        let mut by_fd = ByFd {
            fd: btf.as_raw_fd() as u32,
            info_len: size_of::<BtfInfo>() as u32,
            info: &raw mut info as u64,
        };
        call(command::OBJ_GET_INFO_BY_FD, &mut by_fd).context("name of a BTF object")?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
        if info.kernel_btf != 0 && name[..end] == *module.as_bytes() {
            return Ok(btf);
        }
    }
}

/// Make the system call.
fn call<T>(command: u32, attributes: &mut T) -> Result<libc::c_long, Error> {
    // SAFETY: The structures above are the attributes of their commands; what they point to lives in the callers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(result)
}

/// Make a system call that opens something.
fn open<T>(command: u32, attributes: &mut T) -> Result<OwnedFd, Error> {
    let fd = call(command, attributes)?;
    // SAFETY: A descriptor that the kernel has just made, and nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
