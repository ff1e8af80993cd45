// SPDX-License-Identifier: GPL-2.0
//! The memory functions that the compiler calls.

use core::arch::asm;

/// # Safety
///
/// As in C.
#[no_mangle]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: By the caller's contract.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
///
/// As in C.
#[no_mangle]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: Forward copying does not overwrite what is still to be read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: By the caller's contract; backward, because the areas overlap with `to` behind `from`.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _,
            inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _, options(nostack));
    }
    to
}

/// # Safety
///
/// As in C.
#[no_mangle]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: By the caller's contract.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") value as u8,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
///
/// As in C.
#[no_mangle]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut offset = 0;
    while offset < count {
        // SAFETY: By the caller's contract; volatile, so that the loop does not become a call of itself.
        let (x, y) = unsafe { (a.add(offset).read_volatile(), b.add(offset).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        offset += 1;
    }
    0
}

/// # Safety
///
/// As in C.
#[no_mangle]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: By the caller's contract.
    unsafe { memcmp(a, b, count) }
}

/// The precompiled core library refers to an unwinder's personality, although nothing here unwinds.
#[no_mangle]
extern "C" fn rust_eh_personality() -> ! {
    crate::cpu::terminate(crate::cpu::reason::PANIC)
}
