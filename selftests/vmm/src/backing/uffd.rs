// SPDX-License-Identifier: GPL-2.0
//! userfaultfd: a task that accesses a page sleeps until the test provides the page.

use crate::backing::memory::Memory;
use crate::exchange::page_image::PageImage;
use anyhow::{bail, ensure, Result};
use ghcb_rs::ghcb_abi::page::PAGE_SIZE;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;
use vmm_sys_util::ioctl::ioctl_with_mut_ref;
use vmm_sys_util::{ioctl_ioc_nr, ioctl_iowr_nr};

/// C: `include/uapi/linux/userfaultfd.h`.
#[repr(C)]
#[derive(Default)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Default)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Default)]
struct Copy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

#[repr(C)]
#[derive(Default)]
struct WriteProtect {
    start: u64,
    len: u64,
    mode: u64,
}

/// `struct uffd_msg` with a page fault in it.
#[repr(C)]
#[derive(Default)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    flags: u64,
    address: u64,
    thread: u64,
}

const TYPE: u32 = 0xaa;
ioctl_iowr_nr!(UFFDIO_API, TYPE, 0x3f, Api);
ioctl_iowr_nr!(UFFDIO_REGISTER, TYPE, 0x00, Register);
ioctl_iowr_nr!(UFFDIO_COPY, TYPE, 0x03, Copy);
ioctl_iowr_nr!(UFFDIO_WRITEPROTECT, TYPE, 0x06, WriteProtect);

const API: u64 = TYPE as u64;
const FEATURE_WP: u64 = 1 << 0;
const MODE_MISSING: u64 = 1 << 0;
const MODE_WP: u64 = 1 << 1;
const PROTECT: u64 = 1 << 0;
const PAGE_FAULT: u8 = 0x12;

/// The page at the start of a mapping, whose faults come here.
pub struct Faults {
    fd: OwnedFd,
    address: u64,
}

impl Faults {
    /// A task that accesses the page, which is missing, sleeps.
    pub fn missing(memory: &Memory) -> Result<Self> {
        Self::register(memory, MODE_MISSING)
    }

    /// A task that writes to the page, which is present, sleeps.
    pub fn written(memory: &Memory) -> Result<Self> {
        let this = Self::register(memory, MODE_WP)?;
        this.protect(PROTECT)?;
        Ok(this)
    }

    fn register(memory: &Memory, mode: u64) -> Result<Self> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: Plain system call.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        ensure!(fd >= 0, "userfaultfd: {}", Error::last_os_error());
        // SAFETY: The descriptor was just opened, and is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) };
        let this = Self {
            fd,
            address: memory.address() as u64,
        };
        let api = Api {
            api: API,
            features: if mode == MODE_WP { FEATURE_WP } else { 0 },
            ..Default::default()
        };
        this.command("UFFDIO_API", UFFDIO_API(), api)?;
        let register = Register {
            start: this.address,
            len: PAGE_SIZE as u64,
            mode,
            ..Default::default()
        };
        this.command("UFFDIO_REGISTER", UFFDIO_REGISTER(), register)?;
        Ok(this)
    }

    /// Wait until a task sleeps.
    pub fn wait(&self, patience: Duration) -> Result<()> {
        let mut poll = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let time = i32::try_from(patience.as_millis())?;
        // SAFETY: One structure, which lives as long as the call.
        let ready = unsafe { libc::poll(&mut poll, 1, time) };
        ensure!(ready == 1, "nobody touches the page");
        let mut message = Message::default();
        let size = size_of::<Message>();
        // SAFETY: Writes at most the size of the structure, any contents of which are valid.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut message).cast(), size) };
        if read != size as isize || message.event != PAGE_FAULT {
            bail!("userfaultfd tells of {:#x}", message.event);
        }
        let page = message.address & !(PAGE_SIZE as u64 - 1);
        ensure!(page == self.address, "a fault at {:#x}", message.address);
        Ok(())
    }

    /// Let the page come, with these contents, and whoever waits for it go on.
    pub fn fill(&self, image: &PageImage) -> Result<()> {
        let copy = Copy {
            dst: self.address,
            src: image.0.as_ptr() as u64,
            len: PAGE_SIZE as u64,
            ..Default::default()
        };
        self.command("UFFDIO_COPY", UFFDIO_COPY(), copy)
    }

    /// Let the page be written to, and whoever waits for that go on.
    pub fn release(&self) -> Result<()> {
        self.protect(0)
    }

    fn protect(&self, mode: u64) -> Result<()> {
        let protect = WriteProtect {
            start: self.address,
            len: PAGE_SIZE as u64,
            mode,
        };
        self.command("UFFDIO_WRITEPROTECT", UFFDIO_WRITEPROTECT(), protect)
    }

    fn command<T>(&self, name: &str, request: libc::c_ulong, mut argument: T) -> Result<()> {
        // SAFETY: The callers pair each request with its structure. Addresses in it are those of a mapping of
        // this process that no reference points into, and of a page image that outlives the call.
        let status = unsafe { ioctl_with_mut_ref(&self.fd, request, &mut argument) };
        ensure!(status == 0, "{name}: {}", Error::last_os_error());
        Ok(())
    }
}
