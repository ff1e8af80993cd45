// SPDX-License-Identifier: GPL-2.0

//! The guest's page, seen through the mapping that userspace has of it.

use super::bindings::{self, kvm_memory_slot};
use crate::{
    ghcb_abi::page::{
        BufferRange, GuestPage, Qword, OPERANDS, PAGE_SIZE, REGISTERS, REPLY, REQUEST,
    },
    vmgexit::host::Fault,
};
use core::{arch::asm, ptr::NonNull};

/// `EX_TYPE_UACCESS` of `arch/x86/include/asm/extable_fixup_types.h`.
const EX_TYPE_UACCESS: u32 = 3;

/// `EX_TYPE_EFAULT_REG` of the same, for R11.
const EX_TYPE_EFAULT_R11: u32 = 17 | 11 << 8 | (-14_i16 as u16 as u32) << 16;

/// Moves between STAC and CLAC; `Ok` if all of them have reached user memory. C: `user_access_begin()`,
/// `unsafe_get_user()`, `unsafe_put_user()`, `user_access_end()`.
///
/// A page fault that cannot be resolved continues at CLAC. Then outputs hold anything.
///
/// # Safety
///
/// Each move accesses a user address. The processor has SMAP (`identity::cpu_has_smap()`).
macro_rules! window {
    ([$($step:literal),*], $($operands:tt)*) => {{
        let failed: u32;
        asm!(
            "mov {failed:e}, 1",
            "stac",
            $(
                concat!("2: ", $step),
                ".pushsection \"__ex_table\", \"a\"",
                ".balign 4",
                ".long (2b) - .",
                ".long (3f) - .",
                ".long {ex_type}",
                ".popsection",
            )*
            "xor {failed:e}, {failed:e}",
            "3: clac",
            failed = out(reg) failed,
            ex_type = const EX_TYPE_UACCESS,
            $($operands)*
            options(nostack),
        );
        if failed == 0 {
            Ok(())
        } else {
            Err(Fault)
        }
    }};
}

/// Access to user memory, between STAC and CLAC. C: `user_access_begin()`, `user_access_end()`.
///
/// objtool sees to it that no function is called, nor left, meanwhile.
struct Access;

impl Access {
    /// Begins.
    #[inline]
    fn begin() -> Self {
        // SAFETY: Allows access to user memory. The processor has SMAP (`identity::cpu_has_smap()`).
        unsafe { asm!("stac", options(nostack)) };
        Self
    }
}

impl Drop for Access {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Ends what `begin()` has begun.
        unsafe { asm!("clac", options(nostack)) };
    }
}

/// Reads a quad word of user memory at an offset that is known at compile time; where a page fault cannot be resolved,
/// `$failed`, which is to be zero before, is not zero afterwards, and the value is anything. C: `unsafe_get_user()`.
///
/// # Safety
///
/// `$hva + $at` is a user address, and `$access` exists.
macro_rules! get {
    ($access:ident, $hva:expr, $at:expr, $failed:ident) => {{
        let _: &Access = &$access;
        let value: u64;
        asm!(
            "2: mov {value}, qword ptr [{hva} + {at}]",
            "3:",
            ".pushsection \"__ex_table\", \"a\"",
            ".balign 4",
            ".long (2b) - .",
            ".long (3b) - .",
            ".long {ex_type}",
            ".popsection",
            hva = in(reg) $hva,
            at = const $at,
            value = out(reg) value,
            ex_type = const EX_TYPE_EFAULT_R11,
            inout("r11") $failed,
            options(nostack),
        );
        value
    }};
}

/// Writes quad words to user memory, each at an offset that is known at compile time; where a page fault cannot be
/// resolved, returns from the function. C: `unsafe_put_user()`.
///
/// # Safety
///
/// `$hva + $at` is a user address, and `$access` exists.
macro_rules! put {
    ($access:ident, $hva:expr, $at:expr => $value:expr $(,)?) => {
        put!(@steps $access, $hva, ["mov qword ptr [{hva} + {at}], {value}"], at = const $at, value = in(reg) $value,)
    };
    (
        $access:ident, $hva:expr,
        $at0:expr => $value0:expr, $at1:expr => $value1:expr, $at2:expr => $value2:expr, $at3:expr => $value3:expr $(,)?
    ) => {
        put!(
            @steps $access, $hva,
            [
                "mov qword ptr [{hva} + {at0}], {value0}",
                "mov qword ptr [{hva} + {at1}], {value1}",
                "mov qword ptr [{hva} + {at2}], {value2}",
                "mov qword ptr [{hva} + {at3}], {value3}"
            ],
            at0 = const $at0, value0 = in(reg) $value0,
            at1 = const $at1, value1 = in(reg) $value1,
            at2 = const $at2, value2 = in(reg) $value2,
            at3 = const $at3, value3 = in(reg) $value3,
        )
    };
    (@steps $access:ident, $hva:expr, [$($step:literal),*], $($operands:tt)*) => {{
        let _: &Access = &$access;
        asm!(
            $(
                concat!("2: ", $step),
                ".pushsection \"__ex_table\", \"a\"",
                ".balign 4",
                ".long (2b) - .",
                ".long {fault} - .",
                ".long {ex_type}",
                ".popsection",
            )*
            hva = in(reg) $hva,
            ex_type = const EX_TYPE_UACCESS,
            fault = label { return Err(Fault) },
            $($operands)*
            options(nostack),
        )
    }};
}

/// A page of guest memory at its address in the VMM's address space.
///
/// Nothing is pinned: the page may be unmapped between two accesses, and then an access fails.
///
/// # Invariants
///
/// `hva` is page-aligned, and the whole page is below the end of user addresses. `slot` is the memory slot
/// that `gfn` lies in, and lives as long as this: `kvm->srcu` is held for reading.
pub(crate) struct UserPage {
    hva: usize,
    gfn: u64,
    slot: NonNull<kvm_memory_slot>,
}

impl UserPage {
    /// The page of guest frame `gfn`, if the slot is one of writable user memory.
    ///
    /// # Safety
    ///
    /// `gfn` lies in the slot, and `kvm->srcu` is held for as long as the result exists.
    #[inline]
    pub(super) unsafe fn new(slot: NonNull<kvm_memory_slot>, gfn: u64) -> Option<Self> {
        const UNUSABLE: u32 = bindings::GHCB_RS_MEM_READONLY | bindings::GHCB_RS_MEMSLOT_INVALID;
        // SAFETY: By the caller, the slot is valid, and nobody changes one that is in use.
        let (flags, base, count, address) = unsafe {
            let slot = slot.as_ptr();
            (
                (*slot).flags,
                (*slot).base_gfn,
                (*slot).npages as u64,
                (*slot).userspace_addr,
            )
        };
        if flags & UNUSABLE != 0 {
            return None;
        }
        let index = index_nospec(gfn.wrapping_sub(base), count);
        // INVARIANT: KVM accepts slots of aligned, accessible user memory only; the frame is in this one.
        Some(Self {
            hva: address.wrapping_add((index as usize).wrapping_mul(PAGE_SIZE)),
            gfn,
            slot,
        })
    }

    /// Guest frame number.
    #[inline]
    pub(super) fn gfn(&self) -> u64 {
        self.gfn
    }

    /// The memory slot, if it keeps a log of pages that are written to.
    #[inline]
    pub(super) fn logging_slot(&self) -> Option<NonNull<kvm_memory_slot>> {
        // SAFETY: By the invariant, the slot is valid.
        let flags = unsafe { (*self.slot.as_ptr()).flags };
        (flags & bindings::GHCB_RS_MEM_LOG_DIRTY_PAGES != 0).then_some(self.slot)
    }

    /// Copies bytes of the shared buffer out, as many as the shorter of the two holds.
    #[inline(never)]
    fn read_slice(&self, from: BufferRange, to: &mut [u8]) -> Result<(), Fault> {
        let len = from.len().min(to.len());
        let source = self.hva.wrapping_add(from.offset());
        // SAFETY: The source is user memory by the invariants of `Self` and `BufferRange`; the destination
        // holds as many bytes.
        unsafe { copy(source, to.as_mut_ptr() as usize, len) }
    }

    /// Copies bytes into the shared buffer, as many as the shorter of the two holds.
    #[inline(never)]
    fn write_slice(&self, to: BufferRange, from: &[u8]) -> Result<(), Fault> {
        let len = to.len().min(from.len());
        let destination = self.hva.wrapping_add(to.offset());
        // SAFETY: As for `read_slice()`, the other way round.
        unsafe { copy(from.as_ptr() as usize, destination, len) }
    }
}

/// Copies `len` bytes, of which one side is user memory, in quad words and then in bytes.
///
/// # Safety
///
/// One side is user addresses; the other is `len` bytes of memory that only this task uses.
unsafe fn copy(from: usize, to: usize, len: usize) -> Result<(), Fault> {
    // SAFETY: By the caller; the kernel runs with the direction flag clear.
    unsafe {
        window!(
            ["rep movsq", "mov ecx, {rest:e}", "rep movsb"],
            rest = in(reg) len % 8,
            inout("rsi") from => _,
            inout("rdi") to => _,
            inout("rcx") len / 8 => _,
        )
    }
}

impl GuestPage for UserPage {
    type Error = Fault;

    #[inline]
    fn read(&self, at: Qword) -> Result<u64, Fault> {
        let address = self.hva.wrapping_add(at.offset());
        let value: u64;
        // SAFETY: By the invariants of `Self` and of `Qword`, `address` is an aligned user address.
        unsafe {
            window!(
                ["mov {value}, qword ptr [{address}]"],
                value = out(reg) value,
                address = in(reg) address,
            )
        }?;
        Ok(value)
    }

    #[inline]
    fn write(&self, at: Qword, value: u64) -> Result<(), Fault> {
        let address = self.hva.wrapping_add(at.offset());
        // SAFETY: As for `read()`.
        unsafe {
            window!(
                ["mov qword ptr [{address}], {value}"],
                value = in(reg) value,
                address = in(reg) address,
            )
        }
    }

    #[inline]
    fn take_request(&self) -> Result<[u64; REQUEST.len()], Fault> {
        let (v0, v1, v2, v3, v4, v5): (u64, u64, u64, u64, u64, u64);
        // SAFETY: As for `read()`.
        unsafe {
            window!(
                [
                    "mov {v0}, qword ptr [{hva} + {at0}]",
                    "mov {v1}, qword ptr [{hva} + {at1}]",
                    "mov {v2}, qword ptr [{hva} + {at2}]",
                    "mov {v3}, qword ptr [{hva} + {at3}]",
                    "mov {v4}, qword ptr [{hva} + {at4}]",
                    "mov {v5}, qword ptr [{hva} + {at5}]",
                    "mov qword ptr [{hva} + {at0}], 0",
                    "mov qword ptr [{hva} + {at1}], 0"
                ],
                v0 = out(reg) v0,
                v1 = out(reg) v1,
                v2 = out(reg) v2,
                v3 = out(reg) v3,
                v4 = out(reg) v4,
                v5 = out(reg) v5,
                hva = in(reg) self.hva,
                at0 = const REQUEST[0].offset(),
                at1 = const REQUEST[1].offset(),
                at2 = const REQUEST[2].offset(),
                at3 = const REQUEST[3].offset(),
                at4 = const REQUEST[4].offset(),
                at5 = const REQUEST[5].offset(),
            )
        }?;
        Ok([v0, v1, v2, v3, v4, v5])
    }

    #[inline(always)]
    fn read_operands(
        &self,
        wanted: [bool; OPERANDS.len()],
    ) -> Result<[u64; OPERANDS.len()], Fault> {
        let mut failed = 0_u64;
        let [rax, rbx, rcx, rdx, rsi, xcr0, xss, scratch, cpl] = wanted;
        let values = {
            let access = Access::begin();
            macro_rules! operands {
                ($($index:literal: $wanted:ident),*) => {
                    [$(if $wanted {
                        const AT: usize = OPERANDS[$index].qword().offset();
                        // SAFETY: As for `read()`.
                        unsafe { get!(access, self.hva, AT, failed) }
                    } else {
                        0
                    }),*]
                };
            }
            operands!(0: rax, 1: rbx, 2: rcx, 3: rdx, 4: rsi, 5: xcr0, 6: xss, 7: scratch, 8: cpl)
        };
        if failed == 0 {
            Ok(values)
        } else {
            Err(Fault)
        }
    }

    #[inline(always)]
    fn write_reply(
        &self,
        registers: [Option<u64>; REGISTERS.len()],
        reply: [u64; REPLY.len()],
    ) -> Result<(), Fault> {
        let [rax, rbx, rcx, rdx] = registers;
        let [info1, info2, low, high] = reply;
        let access = Access::begin();
        // SAFETY: As for `read()`; a `Qword`'s offset is aligned and in the page.
        unsafe {
            if let Some(rax) = rax {
                put!(access, self.hva, REGISTERS[0].offset() => rax);
            }
            if let Some(rbx) = rbx {
                put!(access, self.hva, REGISTERS[1].offset() => rbx);
            }
            if let Some(rcx) = rcx {
                put!(access, self.hva, REGISTERS[2].offset() => rcx);
            }
            if let Some(rdx) = rdx {
                put!(access, self.hva, REGISTERS[3].offset() => rdx);
            }
            put!(
                access,
                self.hva,
                REPLY[0].offset() => info1,
                REPLY[1].offset() => info2,
                REPLY[2].offset() => low,
                REPLY[3].offset() => high,
            );
        }
        Ok(())
    }

    #[inline(always)]
    fn read_bytes(&self, from: BufferRange, to: &mut [u8]) -> Result<(), Fault> {
        let address = self.hva.wrapping_add(from.offset());
        // SAFETY: By the invariants of `Self` and `BufferRange`, user addresses. Where the alignment does
        // not suit, the processor still reads no byte beyond those asked for.
        unsafe {
            match to {
                _ if from.len() < to.len() => return self.read_slice(from, to),
                [a, b, c, d] => {
                    let value: u32;
                    window!(["mov {value:e}, dword ptr [{address}]"], value = out(reg) value, address = in(reg) address,)?;
                    [*a, *b, *c, *d] = value.to_le_bytes();
                }
                [a, b, c, d, e, f, g, h] => {
                    let value: u64;
                    window!(["mov {value}, qword ptr [{address}]"], value = out(reg) value, address = in(reg) address,)?;
                    [*a, *b, *c, *d, *e, *f, *g, *h] = value.to_le_bytes();
                }
                [a, b] => {
                    let value: u32;
                    window!(["movzx {value:e}, word ptr [{address}]"], value = out(reg) value, address = in(reg) address,)?;
                    [*a, *b] = (value as u16).to_le_bytes();
                }
                [a] => {
                    let value: u32;
                    window!(["movzx {value:e}, byte ptr [{address}]"], value = out(reg) value, address = in(reg) address,)?;
                    *a = value as u8;
                }
                _ => return self.read_slice(from, to),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn write_bytes(&self, to: BufferRange, from: &[u8]) -> Result<(), Fault> {
        let address = self.hva.wrapping_add(to.offset());
        // SAFETY: By the invariants of `Self` and `BufferRange`, user addresses. Where the alignment does
        // not suit, the processor still writes no byte beyond those asked for.
        unsafe {
            match *from {
                _ if to.len() < from.len() => self.write_slice(to, from),
                [a, b, c, d] => {
                    let value = u32::from_le_bytes([a, b, c, d]);
                    window!(["mov dword ptr [{address}], {value:e}"], value = in(reg) value, address = in(reg) address,)
                }
                [a, b, c, d, e, f, g, h] => {
                    let value = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                    window!(["mov qword ptr [{address}], {value}"], value = in(reg) value, address = in(reg) address,)
                }
                [a, b] => {
                    let value = u16::from_le_bytes([a, b]);
                    window!(["mov word ptr [{address}], {value:x}"], value = in(reg) value, address = in(reg) address,)
                }
                [a] => {
                    window!(["mov byte ptr [{address}], {value}"], value = in(reg_byte) a, address = in(reg) address,)
                }
                _ => self.write_slice(to, from),
            }
        }
    }
}

/// `index`, which is below `size`; in speculation that has missed this, zero. C: `array_index_nospec()`.
#[inline]
fn index_nospec(index: u64, size: u64) -> u64 {
    let mask: u64;
    // SAFETY: Compares, and subtracts a register from itself.
    unsafe {
        asm!(
            "cmp {index}, {size}",
            "sbb {mask}, {mask}",
            index = in(reg) index,
            size = in(reg) size,
            mask = out(reg) mask,
            options(pure, nomem, nostack),
        );
    }
    index & mask
}
