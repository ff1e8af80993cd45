// SPDX-License-Identifier: GPL-2.0

//! Replies: what a host writes into the page before it resumes the guest.

use super::{
    bitmap::ValidBitmap,
    open::open_enum,
    page::{Field, GuestPage},
};

open_enum! {
    /// What the guest shall do: SW_EXITINFO1, bits 31:0. Host to guest.
    pub struct Action(u32) {
        /// Go on; SW_EXITINFO2 is the event's result. C: `GHCB_HV_RESP_NO_ACTION`.
        NO_ACTION = 0, "no_action";
        /// Raise the exception in SW_EXITINFO2, an [`EventInjection`].
        /// C: `GHCB_HV_RESP_ISSUE_EXCEPTION`.
        ISSUE_EXCEPTION = 1, "issue_exception";
        /// The request was refused; SW_EXITINFO2 is an
        /// [`ErrorReason`]. C: `GHCB_HV_RESP_MALFORMED_INPUT`.
        MALFORMED_INPUT = 2, "malformed_input";
    }
}

open_enum! {
    /// Why a request was refused: SW_EXITINFO2, bits 31:0, after [`Action::MALFORMED_INPUT`]. Host to
    /// guest.
    pub struct ErrorReason(u32) {
        /// The page's address is not the registered one (SNP). C: `GHCB_ERR_NOT_REGISTERED`.
        NOT_REGISTERED = 1, "not_registered";
        /// Unknown usage. C: `GHCB_ERR_INVALID_USAGE`.
        INVALID_USAGE = 2, "invalid_usage";
        /// The scratch area lies where it must not. C: `GHCB_ERR_INVALID_SCRATCH_AREA`.
        INVALID_SCRATCH_AREA = 3, "invalid_scratch_area";
        /// A field that the event needs is not marked valid. C: `GHCB_ERR_MISSING_INPUT`.
        MISSING_INPUT = 4, "missing_input";
        /// A field holds what the event does not allow. C: `GHCB_ERR_INVALID_INPUT`.
        INVALID_INPUT = 5, "invalid_input";
        /// The event is unknown, or not for this guest. C: `GHCB_ERR_INVALID_EVENT`.
        INVALID_EVENT = 6, "invalid_event";
    }
}

/// An exception for the guest, in the event injection format of SVM. Host to guest.
///
/// | bits | meaning |
/// |---|---|
/// | 7:0 | vector |
/// | 10:8 | type: 3 is an exception |
/// | 11 | an error code comes with it |
/// | 31 | valid |
/// | 63:32 | error code |
///
/// ```
/// use ghcb_abi::reply::EventInjection;
/// assert_eq!(EventInjection::GP, EventInjection(0x8000_0b0d));
/// assert_eq!(EventInjection::UD, EventInjection(0x8000_0306));
/// assert_eq!(EventInjection::GP.error_code(), Some(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EventInjection(pub u64);

impl EventInjection {
    /// Vector of #UD.
    pub const UD_VECTOR: u8 = 6;
    /// Vector of #GP.
    pub const GP_VECTOR: u8 = 13;
    /// Bits 7:0. C: `SVM_EVTINJ_VEC_MASK`.
    pub const VECTOR_MASK: u64 = 0xff;
    /// Bits 10:8. C: `SVM_EVTINJ_TYPE_MASK`.
    pub const TYPE_MASK: u64 = 7 << 8;
    /// Type of an exception. C: `SVM_EVTINJ_TYPE_EXEPT`.
    pub const TYPE_EXCEPTION: u64 = 3 << 8;
    /// C: `SVM_EVTINJ_VALID_ERR`.
    pub const VALID_ERROR_CODE: u64 = 1 << 11;
    /// C: `SVM_EVTINJ_VALID`.
    pub const VALID: u64 = 1 << 31;

    /// #UD.
    pub const UD: Self = Self::exception(Self::UD_VECTOR, None);

    /// #GP with the error code zero.
    pub const GP: Self = Self::exception(Self::GP_VECTOR, Some(0));

    /// #GP as KVM reports it: without an error code, which a guest then takes for zero.
    ///
    /// Bits 63:32 are set, because KVM's constant for the valid bit is a negative `int`; they mean nothing
    /// without [`VALID_ERROR_CODE`](Self::VALID_ERROR_CODE).
    pub const GP_WITHOUT_ERROR_CODE: Self =
        Self((!0 << 32) | Self::exception(Self::GP_VECTOR, None).0);

    /// An exception.
    pub const fn exception(vector: u8, error_code: Option<u32>) -> Self {
        let error = match error_code {
            Some(code) => Self::VALID_ERROR_CODE | ((code as u64) << 32),
            None => 0,
        };
        Self(Self::VALID | Self::TYPE_EXCEPTION | vector as u64 | error)
    }

    /// Vector.
    pub const fn vector(self) -> u8 {
        (self.0 & Self::VECTOR_MASK) as u8
    }

    /// Error code, if one comes with the exception.
    pub const fn error_code(self) -> Option<u32> {
        if self.0 & Self::VALID_ERROR_CODE != 0 {
            Some((self.0 >> 32) as u32)
        } else {
            None
        }
    }

    /// Whether a guest may act on this: a valid exception, and one of those that a host may ask for.
    pub const fn is_acceptable(self) -> bool {
        self.0 & Self::VALID != 0
            && self.0 & Self::TYPE_MASK == Self::TYPE_EXCEPTION
            && matches!(self.vector(), Self::UD_VECTOR | Self::GP_VECTOR)
    }
}

/// What a host answers. Host to guest.
///
/// Holds both infos and those of RAX, RBX, RCX and RDX that the event returns: nothing else of a
/// host's state can get into the page.
///
/// ```
/// use ghcb_abi::{page::Field, reply::{Action, Reply}};
/// let reply = Reply::no_action(0).with_rax(0x1234);
/// assert_eq!(reply.action(), Action::NO_ACTION);
/// assert!(reply.valid().contains(Field::Rax));
/// assert!(!reply.valid().contains(Field::Rbx));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Reply {
    valid: ValidBitmap,
    action: Action,
    info2: u64,
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
}

impl Reply {
    /// The request was carried out; `info2` is its result.
    #[inline]
    pub const fn no_action(info2: u64) -> Self {
        Self {
            valid: ValidBitmap::REPLY,
            action: Action::NO_ACTION,
            info2,
            rax: 0,
            rbx: 0,
            rcx: 0,
            rdx: 0,
        }
    }

    /// The guest shall raise an exception.
    #[inline]
    pub const fn exception(event: EventInjection) -> Self {
        let mut reply = Self::no_action(event.0);
        reply.action = Action::ISSUE_EXCEPTION;
        reply
    }

    /// The request is refused.
    #[inline]
    pub const fn error(reason: ErrorReason) -> Self {
        let mut reply = Self::no_action(reason.0 as u64);
        reply.action = Action::MALFORMED_INPUT;
        reply
    }

    /// Returns RAX.
    #[inline]
    pub const fn with_rax(mut self, value: u64) -> Self {
        self.valid = self.valid.with(Field::Rax);
        self.rax = value;
        self
    }

    /// Returns RBX.
    #[inline]
    pub const fn with_rbx(mut self, value: u64) -> Self {
        self.valid = self.valid.with(Field::Rbx);
        self.rbx = value;
        self
    }

    /// Returns RCX.
    #[inline]
    pub const fn with_rcx(mut self, value: u64) -> Self {
        self.valid = self.valid.with(Field::Rcx);
        self.rcx = value;
        self
    }

    /// Returns RDX.
    #[inline]
    pub const fn with_rdx(mut self, value: u64) -> Self {
        self.valid = self.valid.with(Field::Rdx);
        self.rdx = value;
        self
    }

    /// What the guest shall do.
    #[inline]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// SW_EXITINFO1.
    #[inline]
    pub const fn info1(&self) -> u64 {
        self.action.0 as u64
    }

    /// SW_EXITINFO2.
    #[inline]
    pub const fn info2(&self) -> u64 {
        self.info2
    }

    /// Fields that the reply writes and marks valid.
    #[inline]
    pub const fn valid(&self) -> ValidBitmap {
        self.valid
    }

    /// Value of a field that the reply writes.
    #[inline]
    pub const fn get(&self, field: Field) -> Option<u64> {
        if !self.valid.contains(field) {
            return None;
        }
        match field {
            Field::Rax => Some(self.rax),
            Field::Rbx => Some(self.rbx),
            Field::Rcx => Some(self.rcx),
            Field::Rdx => Some(self.rdx),
            Field::SwExitInfo1 => Some(self.info1()),
            Field::SwExitInfo2 => Some(self.info2),
            _ => None,
        }
    }

    /// Writes the reply: each field that it returns, then the whole bitmap, which marks these fields and
    /// no other. Reads nothing, and leaves the rest of the page alone.
    ///
    /// # Errors
    ///
    /// The page cannot be reached. What marks the reply comes last: a guest finds a whole reply or none.
    #[inline(always)]
    pub fn write<P: GuestPage>(&self, page: &P) -> Result<(), P::Error> {
        let (low, high) = self.valid.to_words();
        let registers = [
            self.valid.contains(Field::Rax).then_some(self.rax),
            self.valid.contains(Field::Rbx).then_some(self.rbx),
            self.valid.contains(Field::Rcx).then_some(self.rcx),
            self.valid.contains(Field::Rdx).then_some(self.rdx),
        ];
        page.write_reply(registers, [self.info1(), self.info2, low, high])
    }
}
