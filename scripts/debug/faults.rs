// SPDX-License-Identifier: GPL-2.0

//! Faults on purpose, for `make debug-test`, which builds this into a copy of the module: a kernel that finds fault must
//! report each of them.

use crate::kvm::bindings::tracepoint_srcu;
use core::hint::black_box;
use kernel::{
    alloc::{flags::GFP_KERNEL, KBox},
    ffi::{c_int, c_void},
    prelude::*,
    sync::{new_mutex, new_spinlock},
    time::{delay::fsleep, Delta},
};

/// A function that takes a number.
extern "C" fn takes_number(number: c_int) -> c_int {
    number
}

/// Commits the fault with this number.
pub(crate) fn commit(number: u8) {
    let result = match number {
        3 => use_after_free(),
        4 => read_past_variable(),
        5 => sleep_with_preemption_off(),
        6 => leak(),
        7 => call_with_wrong_type(),
        8 => invert_locks(),
        _ => Err(EINVAL),
    };
    pr_info!("fault {number}: {result:?}\n");
}

fn use_after_free() -> Result {
    let memory = KBox::into_raw(KBox::new([1_u64; 8], GFP_KERNEL)?);
    // SAFETY: Just made from a box. The read is the fault.
    let value = unsafe {
        drop(KBox::from_raw(memory));
        memory.cast::<u64>().read_volatile()
    };
    pr_info!("read {value:#x}\n");
    Ok(())
}

fn read_past_variable() -> Result {
    let end = (&raw const tracepoint_srcu).wrapping_add(1);
    // SAFETY: There is none.
    let value = unsafe { black_box(end).cast::<u64>().read_volatile() };
    pr_info!("read {value:#x}\n");
    Ok(())
}

fn sleep_with_preemption_off() -> Result {
    let lock = KBox::pin_init(new_spinlock!(0_u32), GFP_KERNEL)?;
    let _guard = lock.lock();
    fsleep(Delta::from_millis(1));
    Ok(())
}

fn leak() -> Result {
    _ = KBox::into_raw(KBox::new([1_u64; 8], GFP_KERNEL)?);
    Ok(())
}

fn call_with_wrong_type() -> Result {
    let function = takes_number as extern "C" fn(c_int) -> c_int;
    // SAFETY: There is none.
    let function: extern "C" fn(*mut c_void) -> *mut c_void =
        unsafe { core::mem::transmute(black_box(function)) };
    pr_info!("returned {:?}\n", function(core::ptr::null_mut()));
    Ok(())
}

fn invert_locks() -> Result {
    let first = KBox::pin_init(new_mutex!(0_u32), GFP_KERNEL)?;
    let second = KBox::pin_init(new_mutex!(0_u32), GFP_KERNEL)?;
    {
        let _first = first.lock();
        let _second = second.lock();
    }
    let _second = second.lock();
    let _first = first.lock();
    Ok(())
}
