// SPDX-License-Identifier: GPL-2.0
//! Memory behind a slot of its own, which a test takes away, moves and replaces under a guest.

use crate::exchange::page_image::PageImage;
use anyhow::{ensure, Context, Result};
use ghcb_rs::ghcb_abi::page::PAGE_SIZE;
use kvm_bindings::kvm_userspace_memory_region;
pub use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES as LOG_WRITTEN, KVM_MEM_READONLY as READ_ONLY};
pub use kvm_ioctls::VmFd;
use std::fs::File;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of a large page, and alignment of all that is mapped here.
pub const LARGE: usize = 2 << 20;

/// A mapping at a large page's boundary. All accesses are atomic: a guest uses the same memory.
pub struct Memory {
    address: usize,
    length: usize,
    file: Option<File>,
}

impl Memory {
    /// Anonymous memory.
    pub fn anonymous(length: usize) -> Result<Self> {
        let this = Self::reserve(length, None)?;
        this.renew()?;
        Ok(this)
    }

    /// The first pages of a file in memory that has `pages`.
    pub fn file(length: usize, pages: usize) -> Result<Self> {
        // SAFETY: Plain system call; the name is a string that ends with a zero.
        let fd = unsafe { libc::memfd_create(c"ghcb".as_ptr(), libc::MFD_CLOEXEC) };
        ensure!(fd >= 0, "memfd_create: {}", Error::last_os_error());
        // SAFETY: The descriptor was just opened, and is nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len((pages * PAGE_SIZE) as u64)?;
        let this = Self::reserve(length, Some(file))?;
        this.show_page(0)?;
        Ok(this)
    }

    /// A page that the kernel itself has no mapping of, and does not pin: `memfd_secret()`.
    pub fn secret() -> Result<Self> {
        // SAFETY: Plain system call.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        ensure!(fd >= 0, "memfd_secret: {}", Error::last_os_error());
        // SAFETY: The descriptor was just opened, and is nobody else's.
        let file = unsafe { File::from_raw_fd(i32::try_from(fd)?) };
        file.set_len(PAGE_SIZE as u64)?;
        let this = Self::reserve(PAGE_SIZE, Some(file))?;
        this.show_page(0)?;
        Ok(this)
    }

    /// A page of the kernel's, mapped by its frame number (`VM_PFNMAP`): the control page of an event that is off,
    /// which the kernel does not write to.
    pub fn by_frame_number() -> Result<Self> {
        /// `PERF_FLAG_FD_CLOEXEC`.
        const CLOSE_ON_EXEC: u64 = 8;
        // `struct perf_event_attr` in its first form, for `PERF_COUNT_SW_DUMMY`.
        let attributes: [u32; 16] = std::array::from_fn(|word| match word {
            0 => 1,
            1 => 64,
            2 => 9,
            // Its first flag: disabled.
            10 => 1,
            _ => 0,
        });
        // SAFETY: The structure is as long as it says, and lives as long as the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                attributes.as_ptr(),
                0,
                -1,
                -1,
                CLOSE_ON_EXEC,
            )
        };
        ensure!(fd >= 0, "perf_event_open: {}", Error::last_os_error());
        // SAFETY: The descriptor was just opened, and is nobody else's.
        let file = unsafe { File::from_raw_fd(i32::try_from(fd)?) };
        let this = Self::reserve(PAGE_SIZE, Some(file))?;
        this.show_page(0)?;
        Ok(this)
    }

    /// One page of hugetlbfs; an error where the host has none to give.
    pub fn hugetlb() -> Result<Self> {
        let this = Self::reserve(LARGE, None)?;
        this.map(
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB,
            0,
        )?;
        Ok(this)
    }

    /// Addresses without memory.
    fn reserve(length: usize, file: Option<File>) -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: A new mapping, which nobody can have a reference into.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length + LARGE,
                libc::PROT_NONE,
                flags,
                -1,
                0,
            )
        };
        ensure!(
            start != libc::MAP_FAILED,
            "mmap: {}",
            Error::last_os_error()
        );
        // What lies around the aligned part stays reserved.
        let address = (start as usize).next_multiple_of(LARGE);
        Ok(Self {
            address,
            length,
            file,
        })
    }

    fn map(&self, flags: i32, offset: usize) -> Result<()> {
        let fd = self.file.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        // SAFETY: Replaces a mapping of this object, into which there are no references.
        let start = unsafe {
            libc::mmap(
                self.address as *mut _,
                self.length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags | libc::MAP_FIXED,
                fd,
                offset as libc::off_t,
            )
        };
        ensure!(
            start != libc::MAP_FAILED,
            "mmap: {}",
            Error::last_os_error()
        );
        Ok(())
    }

    /// Replace all by new anonymous memory.
    pub fn renew(&self) -> Result<()> {
        self.map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, 0)
    }

    /// Show the `n`th page of the file and what follows it, in place of what was mapped.
    pub fn show_page(&self, n: usize) -> Result<()> {
        self.map(libc::MAP_SHARED, n * PAGE_SIZE)
    }

    /// Leave nothing at these addresses; [`Memory::renew`] must follow.
    pub fn unmap(&self) -> Result<()> {
        // SAFETY: The mapping is this object's; only addresses are kept of it.
        let status = unsafe { libc::munmap(self.address as *mut _, self.length) };
        ensure!(status == 0, "munmap: {}", Error::last_os_error());
        Ok(())
    }

    /// Set the protection of all.
    pub fn protect(&self, protection: i32) -> Result<()> {
        // SAFETY: As above.
        let status = unsafe { libc::mprotect(self.address as *mut _, self.length, protection) };
        ensure!(status == 0, "mprotect: {}", Error::last_os_error());
        Ok(())
    }

    /// madvise() for all.
    pub fn advise(&self, advice: i32) -> Result<()> {
        self.advise_part(advice, 0, self.length)
    }

    /// madvise() for a part.
    pub fn advise_part(&self, advice: i32, offset: usize, length: usize) -> Result<()> {
        // SAFETY: The memory is this object's, and no reference into it exists.
        let status = unsafe { libc::madvise((self.address + offset) as *mut _, length, advice) };
        ensure!(status == 0, "madvise {advice}: {}", Error::last_os_error());
        Ok(())
    }

    /// Free the `n`th page of the file.
    pub fn punch(&self, n: usize) -> Result<()> {
        let file = self.file.as_ref().context("no file")?;
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (offset, length) = ((n * PAGE_SIZE) as i64, PAGE_SIZE as i64);
        // SAFETY: Plain system call.
        let status = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) };
        ensure!(status == 0, "fallocate: {}", Error::last_os_error());
        Ok(())
    }

    /// Contents of the `n`th page of the file, mapped or not.
    pub fn page_of_file(&self, n: usize) -> Result<PageImage> {
        let file = self.file.as_ref().context("no file")?;
        let mut image = PageImage::default();
        for (index, word) in image.0.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, (n * PAGE_SIZE + index * 8) as u64)?;
            *word = u64::from_le_bytes(bytes);
        }
        Ok(image)
    }

    /// Move the page at the start to the other NUMA node of two; false if the kernel leaves it where it is.
    pub fn migrate(&self) -> Result<bool> {
        let node = |to: Option<i32>| -> Result<i32> {
            let (page, mut status) = (self.address as *mut libc::c_void, -1i32);
            // SAFETY: move_pages() reads one pointer and one number, and writes one number.
            let result = unsafe {
                let to = to.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
                libc::syscall(libc::SYS_move_pages, 0, 1usize, &page, to, &mut status, 2)
            };
            ensure!(result >= 0, "move_pages: {}", Error::last_os_error());
            Ok(status)
        };
        let from = node(None)?;
        node(Some(1 - from))?;
        Ok(node(None)? == 1 - from)
    }

    /// Where the page at `offset` lies in the host's memory, if it does.
    pub fn frame(&self, offset: usize) -> Result<Option<u64>> {
        let mut entry = [0; 8];
        let at = (self.address + offset) / PAGE_SIZE * 8;
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, at as u64)?;
        let entry = u64::from_le_bytes(entry);
        Ok((entry >> 63 != 0).then_some(entry & ((1 << 55) - 1)))
    }

    /// Address of its start.
    pub fn address(&self) -> usize {
        self.address
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.length);
        // SAFETY: The address is aligned and in the mapping, which lives as long as this object.
        unsafe { AtomicU64::from_ptr((self.address + at) as *mut u64) }
    }

    /// A copy of the page at the start.
    pub fn page(&self) -> PageImage {
        let mut image = PageImage::default();
        for (index, word) in image.0.iter_mut().enumerate() {
            *word = self.word(index * 8).load(Ordering::Acquire);
        }
        image
    }

    /// Overwrite the page at the start.
    pub fn set_page(&self, image: &PageImage) {
        for (index, word) in image.0.iter().enumerate() {
            self.word(index * 8).store(*word, Ordering::Release);
        }
    }

    /// Make it the guest's memory at `gpa`, in `slot`.
    pub fn attach(&self, vm: &VmFd, slot: u32, gpa: u64, flags: u32) -> Result<()> {
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: gpa,
            memory_size: self.length as u64,
            userspace_addr: self.address as u64,
        };
        // SAFETY: The addresses are this object's until it is dropped, and nothing is ever mapped there that a
        // reference points to: whatever the guest does with them, it does to guest memory.
        unsafe { vm.set_user_memory_region(region) }.context("set a slot")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: The mapping is this object's; a guest that still has it finds no memory there.
        unsafe { libc::munmap(self.address as *mut _, self.length) };
    }
}

/// Take `slot` away from the guest.
pub fn detach(vm: &VmFd, slot: u32) -> Result<()> {
    let region = kvm_userspace_memory_region {
        slot,
        ..Default::default()
    };
    // SAFETY: A size of zero removes the slot.
    unsafe { vm.set_user_memory_region(region) }.context("remove a slot")
}
