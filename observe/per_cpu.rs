// SPDX-License-Identifier: GPL-2.0

//! Counters with an instance for each CPU: counting is one instruction, and no cache line is shared.

use core::{arch::asm, cell::UnsafeCell};
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
    pub(crate) fn increment(&self, index: usize) {
        if index < N {
            // SAFETY: By `new()`, the static's address relative to GS is this CPU's instance, and the index
            // is within it.
            unsafe {
                let counter = self.0.get().cast::<u64>().add(index);
                asm!("inc qword ptr gs:[{}]", in(reg) counter, options(nostack));
            }
        }
    }

    /// [`increment()`](Self::increment) for an index that is known at compile time.
    #[inline]
    pub(crate) fn increment_at<const INDEX: usize>(&self) {
        const { assert!(INDEX < N) };
        // SAFETY: As for `increment()`.
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
