// SPDX-License-Identifier: GPL-2.0

//! Counters and pointers with an instance for each CPU: counting is one instruction, and no cache line is shared.

use core::{
    arch::asm,
    cell::UnsafeCell,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::ffi::{c_uint, c_ulong};

extern "C" {
    /// C: `include/asm-generic/percpu.h`. One element for each number below `nr_cpu_ids`.
    static __per_cpu_offset: [c_ulong; 0];
    /// C: `include/linux/cpumask.h`.
    static nr_cpu_ids: c_uint;
    /// C: `include/linux/cpumask.h`. One bit for each number below `nr_cpu_ids`.
    static __cpu_possible_mask: [c_ulong; 0];
}

/// `N` counters for each CPU; to be a static in the section `.data..percpu`.
///
/// The module loader makes an instance for each CPU; the address of the static is not that of any of
/// them, but becomes so by adding the offset of a CPU.
#[repr(transparent)]
pub(crate) struct Counters<const N: usize>(UnsafeCell<[u64; N]>);

// SAFETY: A CPU changes its own instance alone, by one instruction; others read whole words.
unsafe impl<const N: usize> Sync for Counters<N> {}

impl<const N: usize> Counters<N> {
    /// Counters at zero.
    ///
    /// # Safety
    ///
    /// The result becomes a static in the section `.data..percpu`.
    pub(crate) const unsafe fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }

    /// Adds one to a counter of this CPU. C: `this_cpu_inc()`.
    #[inline]
    pub(crate) fn increment_at<const INDEX: usize>(&self) {
        const { assert!(INDEX < N) };
        // SAFETY: By `new()`, the static's address relative to GS is this CPU's instance, and the index is within it.
        unsafe {
            asm!(
                "inc qword ptr gs:[{base} + {offset}]",
                base = in(reg) self.0.get(),
                offset = const INDEX * size_of::<u64>(),
                options(nostack),
            );
        }
    }

    /// Sum of a counter over all CPUs. May miss increments that happen during the call. C: `per_cpu_ptr()`.
    pub(crate) fn sum(&self, index: usize) -> u64 {
        if index >= N {
            return 0;
        }
        possible_cpu_offsets().fold(0, |sum: u64, offset| {
            // SAFETY: By `new()`, the static's address plus the offset of a CPU is that CPU's instance, and
            // the index is within it.
            sum.wrapping_add(unsafe {
                self.0
                    .get()
                    .cast::<u64>()
                    .add(index)
                    .wrapping_byte_add(offset)
                    .read_volatile()
            })
        })
    }
}

/// A pointer for each CPU; to be a static in the section `.data..percpu`.
#[repr(transparent)]
pub(super) struct Pointer<T>(UnsafeCell<*mut T>);

// SAFETY: A CPU reads and writes its own instance by one instruction each; others by atomic accesses alone.
unsafe impl<T> Sync for Pointer<T> {}

impl<T> Pointer<T> {
    /// The same pointer for all.
    ///
    /// # Safety
    ///
    /// The result becomes a static in the section `.data..percpu`.
    pub(super) const unsafe fn new(value: *mut T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// That of this CPU, which may be another one at once. C: `this_cpu_read()`.
    #[inline]
    pub(super) fn get(&self) -> *mut T {
        let value;
        // SAFETY: By `new()`, the static's address relative to GS is this CPU's instance.
        unsafe {
            asm!(
                "mov {}, gs:[{}]",
                out(reg) value,
                in(reg) self.0.get(),
                options(nostack, readonly, preserves_flags),
            );
        }
        value
    }

    /// Changes that of this CPU. C: `this_cpu_write()`.
    pub(super) fn set(&self, value: *mut T) {
        // SAFETY: By `new()`, the static's address relative to GS is this CPU's instance.
        unsafe {
            asm!(
                "mov gs:[{}], {}",
                in(reg) self.0.get(),
                in(reg) value,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Changes that of each CPU that holds `old`.
    pub(super) fn replace_all(&self, old: *mut T, new: *mut T) {
        for offset in possible_cpu_offsets() {
            let instance = self.0.get().wrapping_byte_add(offset);
            // SAFETY: By `new()`, the static's address plus the offset of a CPU is that CPU's instance.
            let instance = unsafe { AtomicPtr::from_ptr(instance) };
            // Another value is that of a vCPU that has run there since.
            let _ = instance.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Offsets of the CPUs that may ever be there. C: `for_each_possible_cpu()`, `per_cpu_offset()`.
fn possible_cpu_offsets() -> impl Iterator<Item = usize> {
    const BITS: usize = c_ulong::BITS as usize;
    // SAFETY: Set once, when the kernel boots.
    let count = unsafe { nr_cpu_ids } as usize;
    (0..count).filter_map(|cpu| {
        // SAFETY: Both arrays hold all numbers below `nr_cpu_ids`, and are set once, when the kernel boots.
        unsafe {
            let word = (&raw const __cpu_possible_mask)
                .cast::<c_ulong>()
                .add(cpu / BITS)
                .read();
            let is_possible = word >> (cpu % BITS) & 1 != 0;
            is_possible.then(|| {
                (&raw const __per_cpu_offset)
                    .cast::<usize>()
                    .add(cpu)
                    .read()
            })
        }
    })
}
