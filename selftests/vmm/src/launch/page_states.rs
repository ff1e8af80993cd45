// SPDX-License-Identifier: GPL-2.0
//! What a VMM does when pages of a guest are to become private or shared.

use crate::exchange::exit::Exit;
use crate::exchange::userspace::{leave_hypercalls, MAP_GPA_RANGE};
use crate::launch::memory::set_private;
use anyhow::{Context, Result};
use kvm_ioctls::{Kvm, VmFd};
use mailbox::{map, PAGE};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// `KVM_MAP_GPA_RANGE_ENCRYPTED`: the pages become private.
pub const ENCRYPTED: u64 = 1 << 4;
/// `KVM_MAP_GPA_RANGE_PAGE_SZ_2M`.
pub const SIZE_2M: u64 = 1;
/// `KVM_MEMORY_EXIT_FLAG_PRIVATE`: the guest took the page for a private one.
const FAULT_PRIVATE: u64 = 1 << 3;

/// Most pages that one request changes: two large ones, and some.
const MOST: u64 = 2048;

/// Serves page state changes of one VM.
pub struct PageStates {
    vm: VmFd,
    answer: AtomicU64,
    after: AtomicU64,
    by_range: AtomicBool,
}

/// An answer that depends on the range alone, so that the same list gets the same answers each time.
pub fn answer_for(gpa: u64, pages: u64) -> u64 {
    match (gpa / PAGE).wrapping_mul(7).wrapping_add(pages) % 11 {
        0 => libc::EINVAL as u64,
        1 => libc::EAGAIN as u64,
        _ => 0,
    }
}

impl PageStates {
    /// Have KVM leave page state changes of `vm` to userspace, that is to this.
    pub(super) fn of(vm: &VmFd) -> Result<Self> {
        leave_hypercalls(vm)?;
        // SAFETY: The descriptor is open as long as `vm` is borrowed.
        let borrowed = unsafe { BorrowedFd::borrow_raw(vm.as_raw_fd()) };
        let fd = borrowed.as_fd().try_clone_to_owned().context("dup")?;
        let kvm = Kvm::new().context("open /dev/kvm")?;
        // SAFETY: It is another descriptor of a VM, and nobody else's.
        let vm = unsafe { kvm.create_vmfd_from_rawfd(fd.into_raw_fd()) };
        Ok(Self {
            vm: vm.context("descriptor of a VM")?,
            answer: AtomicU64::new(0),
            after: AtomicU64::new(u64::MAX),
            by_range: AtomicBool::new(false),
        })
    }

    /// Do what is asked `times` times, then answer each request with `answer` and leave the pages alone.
    pub fn refuse_after(&self, times: u64, answer: u64) {
        self.answer.store(answer, Ordering::Relaxed);
        self.after.store(times, Ordering::Relaxed);
    }

    /// Answer each request by [`answer_for`] from now on, and leave all pages alone.
    pub fn answer_by_range(&self) {
        self.by_range.store(true, Ordering::Relaxed);
    }

    /// Do all that is asked again.
    pub fn grant(&self) {
        self.refuse_after(u64::MAX, 0);
    }

    /// Serve `exit` if it is about the state of pages; returns what a hypercall returns.
    pub(super) fn serve(&self, exit: &Exit) -> Option<u64> {
        match *exit {
            Exit::Hypercall {
                nr: MAP_GPA_RANGE,
                args: [gpa, pages, attributes, ..],
            } => Some(self.change(gpa, pages, attributes & ENCRYPTED != 0)),
            Exit::MemoryFault { gpa, size, flags } => {
                // An address without a slot has no attributes that matter: the guest faults again.
                let _ = set_private(&self.vm, gpa, size, flags & FAULT_PRIVATE != 0);
                None
            }
            _ => None,
        }
    }

    fn change(&self, gpa: u64, pages: u64, private: bool) -> u64 {
        if self.by_range.load(Ordering::Relaxed) {
            return answer_for(gpa, pages);
        }
        // KVM keeps an attribute for each page: what a guest asks for at random must not use the host's memory up.
        if pages > MOST || gpa >= map::MOVING {
            return libc::EINVAL as u64;
        }
        let left = self.after.load(Ordering::Relaxed);
        if left == 0 {
            return self.answer.load(Ordering::Relaxed);
        }
        if left != u64::MAX {
            self.after.store(left - 1, Ordering::Relaxed);
        }
        match set_private(&self.vm, gpa, pages.saturating_mul(PAGE), private) {
            Ok(()) => 0,
            // What KVM cannot do, the guest is refused.
            Err(_) => libc::EINVAL as u64,
        }
    }
}
