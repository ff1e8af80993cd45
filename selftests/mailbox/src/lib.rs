// SPDX-License-Identifier: GPL-2.0
//! What a test guest and its VMM share in memory.
//!
//! Everything here lies in the guest's shared (unencrypted) half. Each word is an atomic, because guest
//! and VMM run at the same time; the meaning of a word belongs to one side only unless a comment says otherwise.

#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

/// Size of a page and of a GHCB.
pub const PAGE: u64 = 4096;
/// Most vCPUs that one test guest has.
pub const MAX_VCPUS: u64 = 4;

/// The guest-physical address space, which is also the virtual one except for [`MMIO_GVA`].
pub mod map {
    use super::PAGE;

    /// Private half: tables, descriptors, stacks and the guest's image.
    pub const PRIVATE: u64 = 0;
    /// Size of the private half.
    pub const PRIVATE_SIZE: u64 = 2 << 20;
    /// First of the page-table pages.
    pub const TABLES: u64 = 0x1000;
    /// GDT and TSS of vCPU n: one page each.
    pub const DESCRIPTORS: u64 = 0x8000;
    /// Stack of vCPU n: [`STACK_SIZE`] each, the upper quarter for exceptions.
    pub const STACKS: u64 = 0x10000;
    /// Size of each vCPU's stacks.
    pub const STACK_SIZE: u64 = 0x10000;
    /// Where the guest's image is linked; see guest/link.ld.
    pub const IMAGE: u64 = 0x10_0000;
    /// A private page that nothing uses: a wrong place for a GHCB.
    pub const PRIVATE_SPARE: u64 = 0x1f_0000;
    /// A private page that an SEV-SNP guest makes the VMSA of another vCPU.
    pub const VMSA: u64 = PRIVATE_SPARE + PAGE;

    /// Shared half: mailboxes, GHCBs, scratch areas, steps.
    pub const SHARED: u64 = 2 << 20;
    /// Mailbox of vCPU n.
    pub const MAILBOXES: u64 = SHARED;
    /// GHCB of vCPU n, for what the guest itself needs.
    pub const GHCBS: u64 = SHARED + 0x1_0000;
    /// Room for scratch areas outside a GHCB.
    pub const SCRATCH: u64 = SHARED + 0x2_0000;
    /// Size of that room.
    pub const SCRATCH_SIZE: u64 = 0x2_0000;
    /// Table of checks that the guest made.
    pub const CHECKS: u64 = SHARED + 0x4_0000;
    /// How many fit.
    pub const CHECK_ROOM: u64 = 0x2_0000 / core::mem::size_of::<super::Check>() as u64;
    /// Table of steps.
    pub const STEPS: u64 = SHARED + 0x6_0000;
    /// Pages that steps use as GHCBs.
    pub const PAGES: u64 = SHARED + 0x10_0000;
    /// How many there are.
    pub const PAGE_COUNT: u64 = 1024;
    /// A large page that an SEV-SNP guest makes private and shared again.
    pub const CONVERTED: u64 = SHARED + 0x60_0000;
    /// Its size.
    pub const CONVERTED_SIZE: u64 = 2 << 20;
    /// Size of the shared half.
    pub const SHARED_SIZE: u64 = 8 << 20;

    /// A guest-physical range without memory: access is MMIO.
    pub const MMIO: u64 = 0xd000_0000;
    /// Where the guest sees [`MMIO`].
    pub const MMIO_GVA: u64 = 0x4000_0000;
    /// Where the guest sees [`CONVERTED`] as private memory.
    pub const CONVERTED_GVA: u64 = MMIO_GVA + CONVERTED_SIZE;
    /// A slot of one page, where a test asks for it.
    pub const EXTRA: u64 = 0xe000_0000;
    /// Room for slots of a test's own, two large pages each: a GHCB, and two views of what may lie behind it.
    pub const MOVING: u64 = 16 << 20;
    /// Size of each room.
    pub const MOVING_SIZE: u64 = 4 << 20;
    /// The views.
    pub const VIEWS: [u64; 2] = [MOVING + MOVING_SIZE, MOVING + 2 * MOVING_SIZE];
    /// Far beyond any memory, yet a legal physical address.
    pub const NOWHERE: u64 = 0x1_0000_0000;

    /// Address of the `n`th GHCB page for steps.
    pub const fn page(n: u64) -> u64 {
        PAGES + n * PAGE
    }
}

/// What a vCPU is to do after its start.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Take the steps of the table, one VMGEXIT each.
    Steps = 1,
    /// Raise each event through the protocol's guest side and check the answers.
    Events = 2,
    /// Execute real instructions and emulate them in a #VC handler.
    Instructions = 3,
    /// Change words of memory without pause, until told to stop.
    Flip = 4,
    /// Hold for a SIPI, and answer what it brought.
    Hold = 5,
    /// Raise the same requests without pause and judge each reply, while the page's backing changes.
    Replies = 6,
    /// Raise each event and refusal, and judge the replies as OpenBSD does.
    OpenBsd = 7,
    /// Make pages private and shared, and use them; have the hypervisor look for a GHCB in a private one.
    Pages = 8,
}

impl Role {
    /// The role that a mailbox word stands for.
    pub fn from_word(word: u64) -> Option<Self> {
        [
            Self::Steps,
            Self::Events,
            Self::Instructions,
            Self::Flip,
            Self::Hold,
            Self::Replies,
            Self::OpenBsd,
            Self::Pages,
        ]
        .into_iter()
        .find(|role| *role as u64 == word)
    }
}

/// One vCPU's mailbox: a page of words.
#[repr(C)]
pub struct Mailbox {
    /// [`Role`] of the vCPU.
    pub role: AtomicU64,
    /// Index of the vCPU.
    pub vcpu: AtomicU64,
    /// How the guest gives the vCPU back to its VMM: see [`doorbell`].
    pub doorbell: AtomicU64,
    /// How many steps the table holds.
    pub step_count: AtomicU64,
    /// The step that runs now.
    pub step: AtomicU64,
    /// How many checks the guest recorded.
    pub check_count: AtomicU64,
    /// Argument of the role.
    pub argument: AtomicU64,
    /// Set by either side to end a role that runs without end.
    pub stop: AtomicU64,
    /// Exceptions taken since the start.
    pub exceptions: AtomicU64,
    /// Vector of the last exception, with [`TAKEN`].
    pub vector: AtomicU64,
    /// Its error code.
    pub error: AtomicU64,
    /// Where it happened.
    pub rip: AtomicU64,
    /// Progress of the role, by its own measure.
    pub progress: AtomicU64,
    /// Holds that a SIPI ended.
    pub sipis: AtomicU64,
    /// Holds that ended without one.
    pub spurious: AtomicU64,
    /// #VC exceptions taken.
    pub vc: AtomicU64,
    /// Words that a flipping vCPU writes.
    pub flips: [Flip; 8],
    /// Addresses at which the guest itself sees the page that the GHCB MSR names; zero for none.
    pub views: [AtomicU64; 2],
    /// Bit n is set while a reply may come into the nth view.
    pub allowed: AtomicU64,
    /// Right replies.
    pub right: AtomicU64,
    /// Requests whose page was replaced while they were handled.
    pub lost: AtomicU64,
    /// Requests without a reply.
    pub unanswered: AtomicU64,
    /// Address of the GHCB that an SEV-SNP guest has registered for the vCPU.
    pub registered: AtomicU64,
}

/// Marks that an exception was taken, beside its vector.
pub const TAKEN: u64 = 1 << 63;

/// Ways to give the vCPU back.
pub mod doorbell {
    /// HLT: an automatic exit, leaves KVM where no interrupt controller is emulated.
    pub const HLT: u64 = 0;
    /// OUT to [`PORT`] through the vCPU's own GHCB.
    pub const PORT_IO: u64 = 1;
    /// The port for it.
    pub const PORT: u16 = 0xd0;
}

/// Ways to wait for a SIPI: the argument of [`Role::Hold`].
pub mod hold {
    /// Do not hold, just run.
    pub const NONE: u64 = 0;
    /// AP reset hold through the page.
    pub const PAGE: u64 = 1;
    /// AP reset hold in the MSR protocol.
    pub const MSR: u64 = 2;
}

/// One word that a flipping vCPU alternates between two values.
#[repr(C)]
pub struct Flip {
    /// Address; zero for none.
    pub address: AtomicU64,
    /// Width in bytes: 1, 2, 4 or 8.
    pub width: AtomicU64,
    /// One value.
    pub even: AtomicU64,
    /// The other value.
    pub odd: AtomicU64,
}

/// One VMGEXIT to execute, and what came back.
#[repr(C)]
pub struct Step {
    /// Value for the GHCB MSR.
    pub msr: AtomicU64,
    /// See [`step`].
    pub flags: AtomicU64,
    /// The GHCB MSR after the VMGEXIT.
    pub msr_after: AtomicU64,
    /// Vector of an exception that the VMGEXIT brought, with [`TAKEN`].
    pub vector: AtomicU64,
    /// Its error code.
    pub error: AtomicU64,
    /// One once the guest went on after the VMGEXIT.
    pub done: AtomicU64,
    /// Address of a page to copy over the GHCB in front of the VMGEXIT; zero for none.
    pub template: AtomicU64,
    /// SW_EXITINFO1 of the reply, where a template was copied.
    pub info1: AtomicU64,
    /// SW_EXITINFO2 of it.
    pub info2: AtomicU64,
    /// VMPL of the VMSA to make.
    pub vmpl: AtomicU64,
    /// Not used.
    pub spare: [AtomicU64; 6],
}

/// Flags of a [`Step`].
pub mod step {
    /// Leave the GHCB MSR as it is.
    pub const KEEP_MSR: u64 = 1 << 0;
    /// Execute VMGEXIT in ring 3.
    pub const RING3: u64 = 1 << 1;
    /// Tell both infos that are in the page afterwards.
    pub const TELL: u64 = 1 << 2;
    /// Do not register the GHCB first.
    pub const UNREGISTERED: u64 = 1 << 3;
    /// Execute no VMGEXIT, but make the page at [`super::map::VMSA`] that of the vCPU whose number is in `msr`, to run at
    /// the VMPL of the step.
    pub const MAKE_VMSA: u64 = 1 << 4;
}

/// Longest name of a check.
pub const NAME: usize = 72;

/// One check that the guest made.
#[repr(C)]
pub struct Check {
    /// What the guest found.
    pub got: AtomicU64,
    /// What the rule asks for.
    pub want: AtomicU64,
    /// Nonzero if both agree.
    pub pass: AtomicU64,
    /// The name, UTF-8, ended by a zero byte unless it fills the room.
    pub name: [AtomicU64; NAME / 8],
}

impl Check {
    /// Record a check under `name`.
    pub fn record(&self, name: &str, pass: bool, got: u64, want: u64) {
        self.got.store(got, Ordering::Relaxed);
        self.want.store(want, Ordering::Relaxed);
        self.pass.store(u64::from(pass), Ordering::Relaxed);
        let mut bytes = name.bytes();
        for word in &self.name {
            let mut value = [0u8; 8];
            for byte in &mut value {
                *byte = bytes.next().unwrap_or(0);
            }
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
    }
}

const _: () = assert!(core::mem::size_of::<Mailbox>() <= PAGE as usize);
const _: () = assert!(core::mem::size_of::<Step>() == 128);

/// What the VMM's devices and CPUID leaves answer: known to both sides, so that each can check the other.
pub mod device {
    /// A port of the VMM's.
    pub const PORT: u16 = 0x510;

    /// First of four CPUID leaves that the VMM adds.
    pub const CPUID_OWN: u32 = 0x4000_1000;

    /// Value of register `index` (eax, ebx, ecx, edx) of one of those leaves.
    pub const fn cpuid(function: u32, index: u32) -> u32 {
        if function == CPUID_OWN && index == 0 {
            return CPUID_OWN + 3;
        }
        (function ^ 0x9e37_79b9u32.wrapping_mul(index + 1)).rotate_left(index * 7)
    }

    /// Byte `offset` of what an IN from `port` brings.
    pub const fn port_byte(port: u16, offset: usize) -> u8 {
        let [low, high] = port.to_le_bytes();
        (offset as u8).wrapping_mul(29) ^ low.wrapping_mul(3) ^ high ^ 0x5a
    }

    /// The byte at `gpa` that an MMIO read brings.
    pub const fn mmio_byte(gpa: u64) -> u8 {
        (gpa as u8).wrapping_mul(31) ^ 0xc3
    }

    /// What a read of an MSR brings that the VMM serves.
    pub const fn msr_value(index: u32) -> u64 {
        (index as u64 ^ 0x5a5a_0000_c3c3).wrapping_mul(0x0001_0000_4001)
    }

    /// Whether the VMM fails accesses to an MSR: all with an odd number.
    pub const fn fails_msr(index: u32) -> bool {
        index % 2 == 1
    }

    /// What a hypercall returns that the VMM serves: no error, or `-KVM_EINVAL`.
    pub const fn hypercall_value(pages: u64) -> u64 {
        const EINVAL: u64 = 22;
        if pages % 2 == 1 {
            0
        } else {
            EINVAL.wrapping_neg()
        }
    }

    /// What an IN of `size` bytes from `port` brings.
    pub fn port_value(port: u16, size: usize) -> u64 {
        value(size, |offset| port_byte(port, offset))
    }

    /// What an MMIO read of `size` bytes at `gpa` brings.
    pub fn mmio_value(gpa: u64, size: usize) -> u64 {
        value(size, |offset| mmio_byte(gpa.wrapping_add(offset as u64)))
    }

    fn value(size: usize, byte: impl Fn(usize) -> u8) -> u64 {
        let mut bytes = [0; 8];
        for (offset, place) in bytes.iter_mut().enumerate().take(size) {
            *place = byte(offset);
        }
        u64::from_le_bytes(bytes)
    }
}
