// SPDX-License-Identifier: GPL-2.0

//! What may be changed while the module is there: module parameters that can be written.
//!
//! The kernel crate's parameters are fixed at insertion; these are declared as C declares its own. A change takes effect by
//! redirecting the function anew, so that a setting costs nothing where exits are handled.
//!
//! C header: `include/linux/moduleparam.h`.

use super::handover;
use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};
use kernel::{
    bindings::{
        kernel_param, kernel_param__bindgen_ty_1, kernel_param_ops, kstrtobool, scnprintf,
        sysfs_streq,
    },
    error::{from_result, to_result},
    ffi::{c_char, c_int},
    prelude::*,
    str::{as_char_ptr_in_const_context, CStrExt},
};

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// The module.
    Answer = 0,
    /// C; the module says how its own answers would have differed.
    Observe = 1,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Answer, Self::Observe];

    /// Its name, as it is written and read.
    const fn name(self) -> &'static CStr {
        match self {
            Self::Answer => c"answer",
            Self::Observe => c"observe",
        }
    }
}

/// [`Mode`] as a number.
static MODE: AtomicU8 = AtomicU8::new(Mode::Answer as u8);

/// Whether it is taken how long exits take.
static TAKES_TIME: AtomicBool = AtomicBool::new(false);

/// Whether there is somebody who has to hear of a change.
static IS_READY: AtomicBool = AtomicBool::new(false);

/// Who shall answer.
pub(super) fn mode() -> Mode {
    if MODE.load(Relaxed) == Mode::Observe as u8 {
        Mode::Observe
    } else {
        Mode::Answer
    }
}

/// Whether it shall be taken how long exits take.
pub(super) fn takes_time() -> bool {
    TAKES_TIME.load(Relaxed)
}

/// From now on, [`handover`] is told of changes.
pub(super) fn begin() {
    IS_READY.store(true, Relaxed);
}

/// From now on, it is not.
pub(super) fn end() {
    IS_READY.store(false, Relaxed);
}

/// Sets the mode.
///
/// # Safety
///
/// Called by the kernel, with a string.
unsafe extern "C" fn set_mode(text: *const c_char, _: *const kernel_param) -> c_int {
    from_result(|| {
        if text.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By the caller; both are strings.
        let is_named = |mode: &&Mode| unsafe { sysfs_streq(text, mode.name().as_char_ptr()) };
        let mode = Mode::ALL.iter().find(is_named).ok_or(EINVAL)?;
        if MODE.swap(*mode as u8, Relaxed) != *mode as u8 && IS_READY.load(Relaxed) {
            handover::renew()?;
        }
        Ok(0)
    })
}

/// Tells the mode.
///
/// # Safety
///
/// Called by the kernel, with a page to write to.
unsafe extern "C" fn get_mode(buffer: *mut c_char, _: *const kernel_param) -> c_int {
    // SAFETY: By the caller, there is room for a page, and the name is a string.
    unsafe {
        scnprintf(
            buffer,
            64,
            c"%s\n".as_char_ptr(),
            mode().name().as_char_ptr(),
        )
    }
}

/// Has times taken, or not any more.
///
/// # Safety
///
/// Called by the kernel, with a string.
unsafe extern "C" fn set_timing(text: *const c_char, _: *const kernel_param) -> c_int {
    from_result(|| {
        if text.is_null() {
            return Err(EINVAL);
        }
        let mut is_on = false;
        // SAFETY: By the caller, and the result is this function's own.
        to_result(unsafe { kstrtobool(text, &mut is_on) })?;
        if TAKES_TIME.swap(is_on, Relaxed) != is_on && IS_READY.load(Relaxed) {
            handover::renew()?;
        }
        Ok(0)
    })
}

/// Tells whether times are taken, as C's boolean parameters do.
///
/// # Safety
///
/// Called by the kernel, with a page to write to.
unsafe extern "C" fn get_timing(buffer: *mut c_char, _: *const kernel_param) -> c_int {
    let text = if takes_time() { c"Y\n" } else { c"N\n" };
    // SAFETY: By the caller, there is room for a page.
    unsafe { scnprintf(buffer, 64, c"%s".as_char_ptr(), text.as_char_ptr()) }
}

static TIMING_OPS: kernel_param_ops = kernel_param_ops {
    flags: 0,
    set: Some(set_timing),
    get: Some(get_timing),
    free: None,
};

static MODE_OPS: kernel_param_ops = kernel_param_ops {
    flags: 0,
    set: Some(set_mode),
    get: Some(get_mode),
    free: None,
};

/// A parameter, in the section in which the loader looks for them.
#[repr(transparent)]
struct Parameter(kernel_param);

// SAFETY: Nobody changes it.
unsafe impl Sync for Parameter {}

impl Parameter {
    /// Readable by all, writable by root.
    const fn new(name: &'static CStr, ops: &'static kernel_param_ops) -> Self {
        Self(kernel_param {
            name: as_char_ptr_in_const_context(name),
            mod_: (&raw const kernel::bindings::__this_module).cast_mut(),
            ops,
            perm: 0o644,
            level: -1,
            flags: 0,
            __bindgen_anon_1: kernel_param__bindgen_ty_1 {
                arg: ptr::null_mut(),
            },
        })
    }
}

#[link_section = "__param"]
#[used(compiler)]
static MODE_PARAMETER: Parameter = Parameter::new(c"mode", &MODE_OPS);

#[link_section = "__param"]
#[used(compiler)]
static TIMING_PARAMETER: Parameter = Parameter::new(c"timing", &TIMING_OPS);

// In the module's information. Not statics with `#[used]`, which newer compilers put into a section of its own.
core::arch::global_asm!(
    ".pushsection .modinfo, \"a\", @progbits",
    ".asciz \"parmtype=mode:charp\"",
    ".asciz \"parm=mode:Who answers VMGEXITs: the module (answer), or kvm_amd, and the module judges (observe)\"",
    ".asciz \"parmtype=timing:bool\"",
    ".asciz \"parm=timing:Take how long exits take (0: no, the default; 1)\"",
    ".popsection"
);
