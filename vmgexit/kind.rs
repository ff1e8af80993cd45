// SPDX-License-Identifier: GPL-2.0

//! Kinds of exits, for counting: those of the events, by their table, and of what is no event.

use crate::ghcb_abi::{
    event::{for_each_event, is_rdmsr, is_string_io},
    exit_code::ExitCode,
};

/// Declares [`Kind`].
macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $event:ident = $code:literal, $name:literal, $family:ident, known from $source:ident {
            $( $kind:ident $label:literal $(if $when:ident)? { $($forms:tt)* } )*
        }
    )*) => {
        kinds! {
            @all
            $($(
                #[doc = concat!("Event [`", stringify!($event), "`](ExitCode::", stringify!($event), ").")]
                $kind, $label;
            )*)*
            /// Any other exit code.
            UnknownEvent, "unknown_event";
            /// Page that cannot be reached.
            UnreachablePage, "unreachable_page";
            /// MSR: SEV information.
            MsrSevInfo, "msr_sev_info";
            /// MSR: CPUID.
            MsrCpuid, "msr_cpuid";
            /// MSR: AP reset hold.
            MsrApResetHold, "msr_ap_reset_hold";
            /// MSR: hypervisor features.
            MsrHvFeatures, "msr_hv_features";
            /// MSR: termination.
            MsrTerminate, "msr_terminate";
            /// MSR: preferred GHCB.
            MsrPreferredGpa, "msr_preferred_gpa";
            /// MSR: register a GHCB.
            MsrRegisterGpa, "msr_register_gpa";
            /// MSR: page state change.
            MsrPageStateChange, "msr_page_state_change";
            /// MSR: run another VMPL.
            MsrRunVmpl, "msr_run_vmpl";
            /// MSR: any other value.
            MsrUnknown, "msr_unknown";
        }

        impl Kind {
            /// What a request in the page is counted as, by its exit code and SW_EXITINFO1.
            #[inline(always)]
            pub const fn of(exit_code: ExitCode, info1: u64) -> Self {
                match exit_code {
                    $($( ExitCode::$event if true $(&& $when(info1))? => Self::$kind, )*)*
                    _ => Self::UnknownEvent,
                }
            }
        }
    };
    (@all $( $(#[$doc:meta])* $kind:ident, $label:literal; )*) => {
        /// What an exit was about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind {
            $( $(#[$doc])* $kind, )*
        }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$( Self::$kind ),*];

            /// Number of kinds.
            pub const COUNT: usize = Self::ALL.len();

            /// Label.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$kind => $label, )*
                }
            }
        }
    };
}

for_each_event!(kinds);
