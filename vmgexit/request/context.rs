// SPDX-License-Identifier: GPL-2.0

//! What KVM keeps of a guest's context from one request to the next: CPL, XCR0 and IA32_XSS.
//!
//! C takes them from every request, even if it then refuses the request. Its handlers of CPUID, RDPMC and VMMCALL read
//! the CPL later, and that of CPUID reads XCR0 and IA32_XSS, too.

use crate::ghcb_abi::{bitmap::ValidBitmap, page::Field, snapshot::Snapshot};

/// The context of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Privilege level at which the guest executed the instruction, zero if it did not say.
    pub cpl: u8,
    /// XCR0, if the guest gave it.
    pub xcr0: Option<u64>,
    /// IA32_XSS, if the guest gave it.
    pub xss: Option<u64>,
}

impl Context {
    /// The fields that hold it.
    pub const FIELDS: ValidBitmap = ValidBitmap::of(&[Field::Cpl, Field::Xcr0, Field::Xss]);

    /// The context in a snapshot that holds these fields.
    #[inline]
    pub(in crate::vmgexit) fn of(snapshot: &Snapshot) -> Self {
        Self {
            cpl: snapshot.cpl(),
            xcr0: snapshot.get(Field::Xcr0),
            xss: snapshot.get(Field::Xss),
        }
    }
}
