// SPDX-License-Identifier: GPL-2.0

//! Kinds of exits, for counting.

use crate::ghcb_abi::{exit_code::ExitCode, ioio::IoInfo};

/// Declares [`Kind`]: `Name, "label";`.
macro_rules! kinds {
    ($( $(#[$doc:meta])* $name:ident, $label:literal; )*) => {
        /// What an exit was about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind {
            $( $(#[$doc])* $name, )*
        }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$( Self::$name ),*];

            /// Number of kinds.
            pub const COUNT: usize = Self::ALL.len();

            /// Label.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $label, )*
                }
            }
        }
    };
}

kinds! {
    /// CPUID.
    Cpuid, "cpuid";
    /// IN and OUT.
    PortIo, "port_io";
    /// INS and OUTS.
    StringIo, "string_io";
    /// RDMSR.
    ReadMsr, "read_msr";
    /// WRMSR.
    WriteMsr, "write_msr";
    /// MMIO read.
    MmioRead, "mmio_read";
    /// MMIO write.
    MmioWrite, "mmio_write";
    /// RDTSC.
    Rdtsc, "rdtsc";
    /// RDTSCP.
    Rdtscp, "rdtscp";
    /// RDPMC.
    Rdpmc, "rdpmc";
    /// DR7 read.
    ReadDr7, "read_dr7";
    /// DR7 write.
    WriteDr7, "write_dr7";
    /// INVD.
    Invd, "invd";
    /// WBINVD.
    Wbinvd, "wbinvd";
    /// MONITOR.
    Monitor, "monitor";
    /// MWAIT.
    Mwait, "mwait";
    /// VMMCALL.
    Vmmcall, "vmmcall";
    /// NMI complete.
    NmiComplete, "nmi_complete";
    /// AP reset hold by the page.
    ApResetHold, "ap_reset_hold";
    /// AP jump table.
    ApJumpTable, "ap_jump_table";
    /// Hypervisor features by the page.
    HvFeatures, "hv_features";
    /// Termination by the page.
    Terminate, "terminate";
    /// Unsupported event.
    UnsupportedEvent, "unsupported_event";
    /// Event that is for SEV-SNP alone.
    SnpEvent, "snp_event";
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
    /// MSR: a request that is for SEV-SNP alone.
    MsrSnp, "msr_snp";
    /// MSR: any other value.
    MsrUnknown, "msr_unknown";
    /// Exits of guests with SEV-SNP, all of which go to KVM's C handler.
    SnpGuest, "snp_guest";
    /// Exits while the module is told to stand aside, all of which go to KVM's C handler.
    StoodAside, "stood_aside";
}

impl Kind {
    /// Whether exits of this kind go to KVM's C handler.
    pub const fn is_left_to_c(self) -> bool {
        matches!(self, Self::SnpGuest | Self::StoodAside)
    }

    /// The kind of a request that was refused before it was decoded.
    pub const fn of_refused(exit_code: ExitCode, info1: u64) -> Self {
        match exit_code {
            ExitCode::CPUID => Self::Cpuid,
            ExitCode::IOIO if IoInfo(info1).is_string() => Self::StringIo,
            ExitCode::IOIO => Self::PortIo,
            ExitCode::MSR if info1 == 0 => Self::ReadMsr,
            ExitCode::MSR => Self::WriteMsr,
            ExitCode::MMIO_READ => Self::MmioRead,
            ExitCode::MMIO_WRITE => Self::MmioWrite,
            ExitCode::RDTSC => Self::Rdtsc,
            ExitCode::RDTSCP => Self::Rdtscp,
            ExitCode::RDPMC => Self::Rdpmc,
            ExitCode::READ_DR7 => Self::ReadDr7,
            ExitCode::WRITE_DR7 => Self::WriteDr7,
            ExitCode::INVD => Self::Invd,
            ExitCode::WBINVD => Self::Wbinvd,
            ExitCode::MONITOR => Self::Monitor,
            ExitCode::MWAIT => Self::Mwait,
            ExitCode::VMMCALL => Self::Vmmcall,
            ExitCode::NMI_COMPLETE => Self::NmiComplete,
            ExitCode::AP_RESET_HOLD => Self::ApResetHold,
            ExitCode::AP_JUMP_TABLE => Self::ApJumpTable,
            ExitCode::HV_FEATURES => Self::HvFeatures,
            ExitCode::TERMINATE => Self::Terminate,
            ExitCode::UNSUPPORTED_EVENT => Self::UnsupportedEvent,
            code if code.is_snp_event() => Self::SnpEvent,
            _ => Self::UnknownEvent,
        }
    }
}
