// SPDX-License-Identifier: GPL-2.0

//! The way in: a livepatch of the stock kvm_amd, whose hot functions are redirected by direct calls.
//!
//! The kernel's livepatch core gives a switch in sysfs, calls that are in order with the loading and
//! unloading of kvm_amd, relocations to what is not exported, and a module that cannot be removed while
//! the patch is enabled. What it redirects itself is one function that hardly ever runs; the others are
//! redirected by [`direct`] when kvm_amd is loaded, in the order that [`handover`] keeps. [`going`] detects that
//! kvm_amd is unloaded when the core does not call its callbacks.

mod direct;
mod ftrace;
mod going;
mod handover;
mod news;
mod replacement;
mod settings;

use crate::kvm::{
    bindings::{self, klp_func, klp_object, klp_patch},
    differences, identity, imports,
};
use core::{
    cell::UnsafeCell,
    ffi::CStr,
    mem,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use kernel::{
    error::to_result,
    ffi::{c_int, c_void},
    fmt,
    prelude::*,
    str::as_char_ptr_in_const_context,
};

#[expect(
    improper_ctypes,
    reason = "the kernel's structures hold empty ones, which C never passes by value"
)]
extern "C" {
    /// C: `include/linux/livepatch.h`.
    fn klp_enable_patch(patch: *mut klp_patch) -> c_int;
}

// In the module's information: without it the loader accepts no livepatch relocation. Not a static with `#[used]`, which newer
// compilers put into a section of its own.
core::arch::global_asm!(
    ".pushsection .modinfo, \"a\", @progbits",
    ".asciz \"livepatch=Y\"",
    ".popsection"
);

/// Name of the module that is patched.
const OBJECT: &CStr = c"kvm_amd";

/// Called before kvm_amd is patched, when it is there or when it comes. An error refuses the patch, or
/// the loading of kvm_amd.
///
/// # Safety
///
/// Called by the livepatch core, with the relocations applied.
unsafe extern "C" fn pre_patch(object: *mut klp_object) -> c_int {
    // SAFETY: The core has found the module; it cannot go before the callback returns.
    if let Some(name) = unsafe { identity::stranger((*object).mod_) } {
        pr_err!(
            "this {name} is not the one that the module was built for: rebuild ghcb_rs for it\n"
        );
        return EINVAL.to_errno();
    }
    if let Err(error) = ftrace::check() {
        return error.to_errno();
    }
    for slot in [imports::entry::ALL, differences::entry::ALL]
        .into_iter()
        .flatten()
    {
        // SAFETY: The livepatch loader has filled the slots with the addresses of functions, and each is longer
        // than its entry.
        if !unsafe { is_traced(slot.read_volatile()) } {
            pr_err!("a function of kvm_amd has no ftrace entry, so it cannot be replaced\n");
            return EINVAL.to_errno();
        }
    }
    match handover::begin() {
        Ok(()) => {
            news::taken_over();
            0
        }
        Err(error) => {
            // No exit has been handled. If kvm_amd is just coming, it will not stay.
            handover::abandon();
            if ftrace::check().is_ok() {
                pr_err!("a function of kvm_amd cannot be replaced ({error:?}): is it livepatched already?\n");
            }
            error.to_errno()
        }
    }
}

/// Called when every task has changed over to the patch, also when the patch is enabled again while it is
/// being disabled.
///
/// # Safety
///
/// Called by the livepatch core, after [`pre_patch`].
unsafe extern "C" fn post_patch(_: *mut klp_object) {
    WAS_ENABLED.store(true, Relaxed);
    match handover::begin() {
        Ok(()) => news::taken_over(),
        Err(error) => pr_err!(
            "a function of kvm_amd cannot be replaced again ({error:?}): VMGEXITs go to C\n"
        ),
    }
}

/// Called before kvm_amd is unpatched or unloaded, and when patching it has failed.
///
/// # Safety
///
/// Called by the livepatch core.
unsafe extern "C" fn unpatch(_: *mut klp_object) {
    handover::end();
}

/// Replaces a function that is called once, when kvm_amd is unloaded: a livepatch must replace at least one.
///
/// # Safety
///
/// As for `sev_hardware_unsetup()`.
unsafe extern "C" fn sev_hardware_unsetup() {
    // SAFETY: As for this function.
    unsafe { imports::c_sev_hardware_unsetup() };
}

/// Whether a function has the NOP or the call of ftrace where [`imports`] expects it.
///
/// # Safety
///
/// `entry` points to at least [`imports::ENTRY_LENGTH`] bytes of code.
unsafe fn is_traced(entry: *const u8) -> bool {
    const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
    const CALL: u8 = 0xe8;
    const JMP: u8 = 0xe9;
    // SAFETY: The caller vouches for it. Patching of code may change the bytes at any moment, but only
    // from one of these instructions to another.
    let bytes = unsafe {
        entry
            .add(imports::FENTRY_OFFSET)
            .cast::<[u8; 5]>()
            .read_volatile()
    };
    bytes == NOP5 || matches!(bytes, [CALL | JMP, ..])
}

/// A structure that belongs to the livepatch core from registration on.
#[repr(transparent)]
struct Shared<T>(UnsafeCell<T>);

// SAFETY: After `klp_enable_patch()` only the livepatch core touches the contents, under its own lock.
unsafe impl<T> Sync for Shared<T> {}

/// All zero, as C's static initializers leave what they do not name.
const fn zeroed<T>() -> T {
    // SAFETY: Used for structures of the livepatch core alone, which are integers, raw pointers and
    // options of function pointers.
    unsafe { mem::zeroed() }
}

/// A function and its replacement.
const fn function(name: &'static CStr, replacement: *mut c_void) -> klp_func {
    let mut func: klp_func = zeroed();
    func.old_name = as_char_ptr_in_const_context(name).cast();
    func.new_func = replacement;
    func
}

static FUNCTIONS: Shared<[klp_func; 2]> = Shared(UnsafeCell::new([
    function(c"sev_hardware_unsetup", sev_hardware_unsetup as *mut c_void),
    zeroed(),
]));

static OBJECTS: Shared<[klp_object; 2]> = Shared(UnsafeCell::new({
    let mut object: klp_object = zeroed();
    object.name = as_char_ptr_in_const_context(OBJECT).cast();
    object.funcs = FUNCTIONS.0.get().cast();
    object.callbacks.pre_patch = Some(pre_patch);
    object.callbacks.post_patch = Some(post_patch);
    object.callbacks.pre_unpatch = Some(unpatch);
    object.callbacks.post_unpatch = Some(unpatch);
    [object, zeroed()]
}));

static PATCH: Shared<klp_patch> = Shared(UnsafeCell::new({
    let mut patch: klp_patch = zeroed();
    patch.objs = OBJECTS.0.get().cast();
    patch
}));

/// Whether the patch has been enabled to the end. The core says `enabled` at some time after [`pre_patch`], and drops no
/// patch for a cumulative one before [`post_patch`].
static WAS_ENABLED: AtomicBool = AtomicBool::new(false);

/// Whether the livepatch core has disabled the patch, or dropped it for a cumulative one.
fn is_forgotten() -> bool {
    // SAFETY: The core sets the field, which is as large as a byte, under its own lock; a stale value is as good.
    let is_enabled = unsafe { (&raw const (*PATCH.0.get()).enabled).read_volatile() };
    WAS_ENABLED.load(Relaxed) && !is_enabled
}

/// This module, once the patch is about to be enabled.
fn module() -> *mut bindings::module {
    // SAFETY: Set by `enable()`, and not changed any more.
    unsafe { (*PATCH.0.get()).mod_ }
}

/// Initializes the lock of the handover.
///
/// # Safety
///
/// To be called once, from the module's initialization, before anything else here.
pub(crate) unsafe fn init() {
    // SAFETY: By the caller.
    unsafe { handover::init() };
}

/// Writes what keeps the module from being removed.
pub(crate) fn write_pending(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    handover::write_pending(f)
}

/// Called when the module is removed, with no reference to it left.
pub(crate) fn end() {
    settings::end();
    going::forget();
    handover::finish();
}

/// Registers and enables the livepatch. May be called once, from the module's initialization.
pub(crate) fn enable(module: &'static ThisModule) -> Result {
    ftrace::check()?;
    handover::start()?;
    settings::begin();
    going::watch().inspect_err(|_| handover::finish())?;
    // SAFETY: The structures live as long as the module, and the core has not seen them yet.
    let result = unsafe {
        (*PATCH.0.get()).mod_ = module.as_ptr().cast::<bindings::module>();
        klp_enable_patch(PATCH.0.get())
    };
    if let Err(error) = to_result(result) {
        pr_err!("the kernel's livepatch core refused the patch of kvm_amd ({error:?}): see the messages above\n");
        // The functions may have been redirected for a moment.
        end();
        // A module whose initialization fails is freed, whoever holds a reference to it.
        return if handover::is_stuck() {
            Ok(())
        } else {
            Err(error)
        };
    }
    news::inserted();
    Ok(())
}
