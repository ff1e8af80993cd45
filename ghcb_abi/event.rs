// SPDX-License-Identifier: GPL-2.0

//! What each event takes from the page, and what it puts there.
//!
//! The rules of [`ExitCode::required`] are those of KVM: a request without one of these fields is
//! answered with [`ErrorReason::MISSING_INPUT`](super::reply::ErrorReason::MISSING_INPUT).

use super::{
    ap::ApOperation,
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    ioio::IoInfo,
    page::Field::{self, *},
};

/// The set of the given fields.
const fn set(fields: &[Field]) -> ValidBitmap {
    ValidBitmap::of(fields)
}

impl ExitCode {
    /// CPUID function which needs XCR0: the size of the XSAVE area depends on it.
    pub const CPUID_NEEDS_XCR0: u64 = 0xd;

    /// Fields that a request must mark valid, as far as the exit code and SW_EXITINFO1 tell.
    ///
    /// Always includes the exit code and both infos. One rule needs more: a CPUID request for function
    /// 0xD, that is, with [`CPUID_NEEDS_XCR0`](Self::CPUID_NEEDS_XCR0) in RAX, must also supply XCR0.
    /// [`Snapshot::missing`](super::snapshot::Snapshot::missing) has them all.
    ///
    /// ```
    /// use ghcb_rs::ghcb_abi::{exit_code::ExitCode, page::Field};
    /// assert!(ExitCode::MSR.required(1).contains(Field::Rdx));
    /// assert!(!ExitCode::MSR.required(0).contains(Field::Rdx));
    /// ```
    #[inline(always)]
    pub const fn required(self, info1: u64) -> ValidBitmap {
        let operands = match self {
            Self::WRITE_DR7 => const { set(&[Rax]) },
            Self::RDPMC => const { set(&[Rcx]) },
            Self::CPUID => const { set(&[Rax, Rcx]) },
            Self::IOIO => {
                let io = IoInfo(info1);
                if io.is_string() {
                    const { set(&[SwScratch]) }
                } else if io.is_in() {
                    ValidBitmap::EMPTY
                } else {
                    const { set(&[Rax]) }
                }
            }
            Self::MSR if info1 == 0 => const { set(&[Rcx]) },
            Self::MSR => const { set(&[Rax, Rcx, Rdx]) },
            Self::VMMCALL => const { set(&[Rax, Cpl]) },
            Self::MONITOR => const { set(&[Rax, Rcx, Rdx]) },
            Self::MWAIT => const { set(&[Rax, Rcx]) },
            Self::AP_CREATION if info1 as u32 == ApOperation::DESTROY.0 as u32 => {
                ValidBitmap::EMPTY
            }
            Self::AP_CREATION => const { set(&[Rax]) },
            Self::MMIO_READ | Self::MMIO_WRITE | Self::PAGE_STATE_CHANGE => {
                const { set(&[SwScratch]) }
            }
            _ => ValidBitmap::EMPTY,
        };
        operands.union(ValidBitmap::EXIT)
    }

    /// Fields beyond the exit code and the infos which the event can use when they are valid: the
    /// required ones, and those that have a meaning but may be left out.
    ///
    /// A reader that wants no more of the page than it needs reads these.
    #[inline(always)]
    pub const fn operands(self, info1: u64) -> ValidBitmap {
        match self {
            Self::WRITE_DR7 => const { set(&[Rax]) },
            Self::RDPMC => const { set(&[Rcx, Cpl]) },
            Self::CPUID => const { set(&[Rax, Rcx, Xcr0, Xss]) },
            Self::IOIO if IoInfo(info1).is_string() => const { set(&[SwScratch]) },
            // IN of less than four bytes leaves the rest of RAX as it was.
            Self::IOIO => const { set(&[Rax]) },
            Self::MSR if info1 == 0 => const { set(&[Rcx]) },
            Self::MSR | Self::MONITOR => const { set(&[Rax, Rcx, Rdx]) },
            Self::VMMCALL => const { set(&[Rax, Rbx, Rcx, Rdx, Rsi, Cpl]) },
            Self::MWAIT => const { set(&[Rax, Rcx]) },
            Self::EXT_GUEST_REQUEST | Self::SECURE_AVIC => const { set(&[Rax, Rbx]) },
            Self::TIO_GUEST_REQUEST => const { set(&[Rax, Rbx, Rcx, Rdx]) },
            Self::AP_CREATION | Self::APIC_ID_LIST => const { set(&[Rax]) },
            Self::MMIO_READ | Self::MMIO_WRITE | Self::PAGE_STATE_CHANGE => {
                const { set(&[SwScratch]) }
            }
            _ => ValidBitmap::EMPTY,
        }
    }

    /// Registers that the answer to a request holds when the host took no exception to it.
    ///
    /// Both infos come with every reply and are not listed; what SW_EXITINFO2 then means is in the room
    /// of the event.
    #[inline(always)]
    pub const fn returned(self, info1: u64) -> ValidBitmap {
        match self {
            Self::READ_DR7 | Self::VMMCALL | Self::APIC_ID_LIST => const { set(&[Rax]) },
            Self::RDTSC | Self::RDPMC => const { set(&[Rax, Rdx]) },
            Self::RDTSCP => const { set(&[Rax, Rcx, Rdx]) },
            Self::CPUID => const { set(&[Rax, Rbx, Rcx, Rdx]) },
            Self::IOIO => {
                let io = IoInfo(info1);
                if io.is_in() && !io.is_string() {
                    const { set(&[Rax]) }
                } else {
                    ValidBitmap::EMPTY
                }
            }
            Self::MSR if info1 == 0 => const { set(&[Rax, Rdx]) },
            Self::EXT_GUEST_REQUEST | Self::SECURE_AVIC => const { set(&[Rbx]) },
            Self::TIO_GUEST_REQUEST => const { set(&[Rbx, Rdx]) },
            Self::TIO_OPERATION => const { set(&[Rcx]) },
            _ => ValidBitmap::EMPTY,
        }
    }
}
