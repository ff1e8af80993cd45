// SPDX-License-Identifier: GPL-2.0

//! Why an exit gets an error for an answer, or none, for counting.

use crate::ghcb_abi::reply::ErrorReason;

/// Declares [`Refusal`].
macro_rules! refusals {
    ($( $(#[$doc:meta])* $refusal:ident, $label:literal; )*) => {
        /// Why a request was not carried out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Refusal {
            $( $(#[$doc])* $refusal, )*
        }

        impl Refusal {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$( Self::$refusal ),*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Label.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$refusal => $label, )*
                }
            }
        }
    };
}

refusals! {
    /// [`ErrorReason::NOT_REGISTERED`].
    NotRegistered, "not_registered";
    /// [`ErrorReason::INVALID_USAGE`].
    InvalidUsage, "invalid_usage";
    /// [`ErrorReason::INVALID_SCRATCH_AREA`].
    InvalidScratchArea, "invalid_scratch_area";
    /// [`ErrorReason::MISSING_INPUT`].
    MissingInput, "missing_input";
    /// [`ErrorReason::INVALID_INPUT`].
    InvalidInput, "invalid_input";
    /// [`ErrorReason::INVALID_EVENT`].
    InvalidEvent, "invalid_event";
    /// Any other number in an error reply.
    OtherReason, "other_reason";
    /// The page cannot be reached: there is no reply.
    UnreachablePage, "unreachable_page";
    /// A request in the MSR is answered with "failed", or stays there.
    MsrFailed, "msr_failed";
    /// The MSR holds no request.
    MsrUnknown, "msr_unknown";
}

impl From<ErrorReason> for Refusal {
    fn from(reason: ErrorReason) -> Self {
        match reason {
            ErrorReason::NOT_REGISTERED => Self::NotRegistered,
            ErrorReason::INVALID_USAGE => Self::InvalidUsage,
            ErrorReason::INVALID_SCRATCH_AREA => Self::InvalidScratchArea,
            ErrorReason::MISSING_INPUT => Self::MissingInput,
            ErrorReason::INVALID_INPUT => Self::InvalidInput,
            ErrorReason::INVALID_EVENT => Self::InvalidEvent,
            _ => Self::OtherReason,
        }
    }
}
