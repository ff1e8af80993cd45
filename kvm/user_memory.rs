// SPDX-License-Identifier: GPL-2.0

//! The guest's page, seen through the mapping that userspace has of it.

use super::bindings::{self, kvm_memory_slot};
use crate::{
    ghcb_abi::page::{BufferRange, GuestPage, Qword, PAGE_SIZE, REGISTERS, REPLY, REQUEST},
    vmgexit::host::Fault,
};
use core::{arch::asm, ptr::NonNull};

/// `EX_TYPE_UACCESS` of `arch/x86/include/asm/extable_fixup_types.h`.
const EX_TYPE_UACCESS: u32 = 3;

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
    #[inline(always)]
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

    /// Writes quad words at four offsets, each aligned and in the page.
    #[inline(always)]
    fn store_four<const AT0: usize, const AT1: usize, const AT2: usize, const AT3: usize>(
        &self,
        values: [u64; 4],
    ) -> Result<(), Fault> {
        const { assert!((AT0 | AT1 | AT2 | AT3) < PAGE_SIZE && (AT0 | AT1 | AT2 | AT3) % 8 == 0) };
        let [v0, v1, v2, v3] = values;
        // SAFETY: By the invariant of `Self` and the assertion, aligned user addresses.
        unsafe {
            window!(
                [
                    "mov qword ptr [{hva} + {at0}], {v0}",
                    "mov qword ptr [{hva} + {at1}], {v1}",
                    "mov qword ptr [{hva} + {at2}], {v2}",
                    "mov qword ptr [{hva} + {at3}], {v3}"
                ],
                v0 = in(reg) v0,
                v1 = in(reg) v1,
                v2 = in(reg) v2,
                v3 = in(reg) v3,
                hva = in(reg) self.hva,
                at0 = const AT0,
                at1 = const AT1,
                at2 = const AT2,
                at3 = const AT3,
            )
        }
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

    #[inline(always)]
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

    #[inline(always)]
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

    #[inline(always)]
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
    fn write_registers(&self, values: [u64; REGISTERS.len()]) -> Result<(), Fault> {
        self.store_four::<
            { REGISTERS[0].offset() },
            { REGISTERS[1].offset() },
            { REGISTERS[2].offset() },
            { REGISTERS[3].offset() },
        >(values)
    }

    #[inline(always)]
    fn write_reply(&self, values: [u64; REPLY.len()]) -> Result<(), Fault> {
        self.store_four::<
            { REPLY[0].offset() },
            { REPLY[1].offset() },
            { REPLY[2].offset() },
            { REPLY[3].offset() },
        >(values)
    }

    #[inline(always)]
    fn read_bytes(&self, from: BufferRange, to: &mut [u8]) -> Result<(), Fault> {
        let len = from.len().min(to.len());
        let shift = from.offset() % 8;
        // Most accesses lie in one quad word, all of which is in the page.
        match Qword::new(from.offset() - shift) {
            Some(at) if len <= 8 - shift => {
                let word = (self.read(at)? >> (shift * 8)).to_le_bytes();
                for (to, byte) in to.iter_mut().zip(word).take(len) {
                    *to = byte;
                }
                Ok(())
            }
            _ => self.read_slice(from, to),
        }
    }

    #[inline(always)]
    fn write_bytes(&self, to: BufferRange, from: &[u8]) -> Result<(), Fault> {
        let address = self.hva.wrapping_add(to.offset());
        // SAFETY: By the invariants of `Self` and `BufferRange`, user addresses. Where the alignment does
        // not suit, the processor still writes no byte beyond those asked for.
        unsafe {
            match (to.len(), from) {
                (1, &[a]) => {
                    window!(["mov byte ptr [{address}], {value}"], value = in(reg_byte) a, address = in(reg) address,)
                }
                (2, &[a, b]) => {
                    let value = u16::from_le_bytes([a, b]);
                    window!(["mov word ptr [{address}], {value:x}"], value = in(reg) value, address = in(reg) address,)
                }
                (4, &[a, b, c, d]) => {
                    let value = u32::from_le_bytes([a, b, c, d]);
                    window!(["mov dword ptr [{address}], {value:e}"], value = in(reg) value, address = in(reg) address,)
                }
                (8, &[a, b, c, d, e, f, g, h]) => {
                    let value = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                    window!(["mov qword ptr [{address}], {value}"], value = in(reg) value, address = in(reg) address,)
                }
                _ => self.write_slice(to, from),
            }
        }
    }
}

/// `index`, which is below `size`; in speculation that has missed this, zero. C: `array_index_nospec()`.
#[inline(always)]
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
