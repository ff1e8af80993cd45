// SPDX-License-Identifier: GPL-2.0

//! Exit codes: which event a request is about.
//!
//! SW_EXITCODE takes the codes of the SVM architecture for the instructions that it can intercept, and
//! codes from 0x8000_0000 on for events that exist in the protocol alone. Those that are events have their
//! rows in [`event`](super::event); a host answers every other number, also one that has a name here, with
//! [`ErrorReason::INVALID_EVENT`](super::reply::ErrorReason::INVALID_EVENT).

use super::{event::for_each_event, open::open_enum};

/// Declares [`ExitCode`]: the events of the table, and what else SVM has exit codes for.
macro_rules! exit_codes {
    ($(
        $(#[$doc:meta])*
        $event:ident = $code:literal, $name:literal, $family:ident, known from $source:ident { $($rules:tt)* }
    )*) => {
        open_enum! {
            /// SW_EXITCODE: which event this is. Guest to host.
            ///
            /// ```
            /// use ghcb_abi::exit_code::ExitCode;
            /// assert_eq!(ExitCode(0x72), ExitCode::CPUID);
            /// assert_eq!(ExitCode::CPUID.name(), Some("cpuid"));
            /// assert_eq!(ExitCode(0x1234).to_string(), "0x1234");
            /// ```
            pub struct ExitCode(u64) {
                $( $(#[$doc])* $event = $code, $name; )*
                /// Read of CR0. C: `SVM_EXIT_READ_CR0`.
                READ_CR0 = 0x000, "read_cr0";
                /// Read of CR2. C: `SVM_EXIT_READ_CR2`.
                READ_CR2 = 0x002, "read_cr2";
                /// Read of CR3. C: `SVM_EXIT_READ_CR3`.
                READ_CR3 = 0x003, "read_cr3";
                /// Read of CR4. C: `SVM_EXIT_READ_CR4`.
                READ_CR4 = 0x004, "read_cr4";
                /// Read of CR8. C: `SVM_EXIT_READ_CR8`.
                READ_CR8 = 0x008, "read_cr8";
                /// Write of CR0. C: `SVM_EXIT_WRITE_CR0`.
                WRITE_CR0 = 0x010, "write_cr0";
                /// Write of CR2. C: `SVM_EXIT_WRITE_CR2`.
                WRITE_CR2 = 0x012, "write_cr2";
                /// Write of CR3. C: `SVM_EXIT_WRITE_CR3`.
                WRITE_CR3 = 0x013, "write_cr3";
                /// Write of CR4. C: `SVM_EXIT_WRITE_CR4`.
                WRITE_CR4 = 0x014, "write_cr4";
                /// Write of CR8. C: `SVM_EXIT_WRITE_CR8`.
                WRITE_CR8 = 0x018, "write_cr8";
                /// Read of DR0. C: `SVM_EXIT_READ_DR0`.
                READ_DR0 = 0x020, "read_dr0";
                /// Read of DR1. C: `SVM_EXIT_READ_DR1`.
                READ_DR1 = 0x021, "read_dr1";
                /// Read of DR2. C: `SVM_EXIT_READ_DR2`.
                READ_DR2 = 0x022, "read_dr2";
                /// Read of DR3. C: `SVM_EXIT_READ_DR3`.
                READ_DR3 = 0x023, "read_dr3";
                /// Read of DR4. C: `SVM_EXIT_READ_DR4`.
                READ_DR4 = 0x024, "read_dr4";
                /// Read of DR5. C: `SVM_EXIT_READ_DR5`.
                READ_DR5 = 0x025, "read_dr5";
                /// Read of DR6. C: `SVM_EXIT_READ_DR6`.
                READ_DR6 = 0x026, "read_dr6";
                /// Write of DR0. C: `SVM_EXIT_WRITE_DR0`.
                WRITE_DR0 = 0x030, "write_dr0";
                /// Write of DR1. C: `SVM_EXIT_WRITE_DR1`.
                WRITE_DR1 = 0x031, "write_dr1";
                /// Write of DR2. C: `SVM_EXIT_WRITE_DR2`.
                WRITE_DR2 = 0x032, "write_dr2";
                /// Write of DR3. C: `SVM_EXIT_WRITE_DR3`.
                WRITE_DR3 = 0x033, "write_dr3";
                /// Write of DR4. C: `SVM_EXIT_WRITE_DR4`.
                WRITE_DR4 = 0x034, "write_dr4";
                /// Write of DR5. C: `SVM_EXIT_WRITE_DR5`.
                WRITE_DR5 = 0x035, "write_dr5";
                /// Write of DR6. C: `SVM_EXIT_WRITE_DR6`.
                WRITE_DR6 = 0x036, "write_dr6";
                /// Exception vector 0; vector _n_ is this plus _n_. C: `SVM_EXIT_EXCP_BASE`.
                EXCP_BASE = 0x040, "excp_base";
                /// Exception vector 31. C: `SVM_EXIT_LAST_EXCP`.
                LAST_EXCP = 0x05f, "last_excp";
                /// Physical interrupt. C: `SVM_EXIT_INTR`.
                INTR = 0x060, "intr";
                /// Physical NMI. C: `SVM_EXIT_NMI`.
                NMI = 0x061, "nmi";
                /// Physical SMI. C: `SVM_EXIT_SMI`.
                SMI = 0x062, "smi";
                /// Physical INIT. C: `SVM_EXIT_INIT`.
                INIT = 0x063, "init";
                /// Virtual interrupt. C: `SVM_EXIT_VINTR`.
                VINTR = 0x064, "vintr";
                /// Write of CR0 that changes more than TS or MP. C: `SVM_EXIT_CR0_SEL_WRITE`.
                CR0_SEL_WRITE = 0x065, "cr0_sel_write";
                /// SIDT. C: `SVM_EXIT_IDTR_READ`.
                IDTR_READ = 0x066, "idtr_read";
                /// SGDT. C: `SVM_EXIT_GDTR_READ`.
                GDTR_READ = 0x067, "gdtr_read";
                /// SLDT. C: `SVM_EXIT_LDTR_READ`.
                LDTR_READ = 0x068, "ldtr_read";
                /// STR. C: `SVM_EXIT_TR_READ`.
                TR_READ = 0x069, "tr_read";
                /// LIDT. C: `SVM_EXIT_IDTR_WRITE`.
                IDTR_WRITE = 0x06a, "idtr_write";
                /// LGDT. C: `SVM_EXIT_GDTR_WRITE`.
                GDTR_WRITE = 0x06b, "gdtr_write";
                /// LLDT. C: `SVM_EXIT_LDTR_WRITE`.
                LDTR_WRITE = 0x06c, "ldtr_write";
                /// LTR. C: `SVM_EXIT_TR_WRITE`.
                TR_WRITE = 0x06d, "tr_write";
                /// PUSHF. C: `SVM_EXIT_PUSHF`.
                PUSHF = 0x070, "pushf";
                /// POPF. C: `SVM_EXIT_POPF`.
                POPF = 0x071, "popf";
                /// RSM. C: `SVM_EXIT_RSM`.
                RSM = 0x073, "rsm";
                /// IRET. C: `SVM_EXIT_IRET`.
                IRET = 0x074, "iret";
                /// INTn. C: `SVM_EXIT_SWINT`.
                SWINT = 0x075, "swint";
                /// PAUSE. C: `SVM_EXIT_PAUSE`.
                PAUSE = 0x077, "pause";
                /// HLT. C: `SVM_EXIT_HLT`.
                HLT = 0x078, "hlt";
                /// INVLPG. C: `SVM_EXIT_INVLPG`.
                INVLPG = 0x079, "invlpg";
                /// INVLPGA. C: `SVM_EXIT_INVLPGA`.
                INVLPGA = 0x07a, "invlpga";
                /// Task switch. C: `SVM_EXIT_TASK_SWITCH`.
                TASK_SWITCH = 0x07d, "task_switch";
                /// Frozen FPU. C: `SVM_EXIT_FERR_FREEZE`.
                FERR_FREEZE = 0x07e, "ferr_freeze";
                /// Triple fault. C: `SVM_EXIT_SHUTDOWN`.
                SHUTDOWN = 0x07f, "shutdown";
                /// VMRUN. C: `SVM_EXIT_VMRUN`.
                VMRUN = 0x080, "vmrun";
                /// VMLOAD. C: `SVM_EXIT_VMLOAD`.
                VMLOAD = 0x082, "vmload";
                /// VMSAVE. C: `SVM_EXIT_VMSAVE`.
                VMSAVE = 0x083, "vmsave";
                /// STGI. C: `SVM_EXIT_STGI`.
                STGI = 0x084, "stgi";
                /// CLGI. C: `SVM_EXIT_CLGI`.
                CLGI = 0x085, "clgi";
                /// SKINIT. C: `SVM_EXIT_SKINIT`.
                SKINIT = 0x086, "skinit";
                /// INT1. C: `SVM_EXIT_ICEBP`.
                ICEBP = 0x088, "icebp";
                /// MWAIT with an armed monitor. C: `SVM_EXIT_MWAIT_COND`.
                MWAIT_COND = 0x08c, "mwait_cond";
                /// XSETBV. C: `SVM_EXIT_XSETBV`.
                XSETBV = 0x08d, "xsetbv";
                /// RDPRU. C: `SVM_EXIT_RDPRU`.
                RDPRU = 0x08e, "rdpru";
                /// After a write of EFER. C: `SVM_EXIT_EFER_WRITE_TRAP`.
                EFER_WRITE_TRAP = 0x08f, "efer_write_trap";
                /// After a write of CR0. C: `SVM_EXIT_CR0_WRITE_TRAP`.
                CR0_WRITE_TRAP = 0x090, "cr0_write_trap";
                /// After a write of CR1. C: `SVM_EXIT_CR1_WRITE_TRAP`.
                CR1_WRITE_TRAP = 0x091, "cr1_write_trap";
                /// After a write of CR2. C: `SVM_EXIT_CR2_WRITE_TRAP`.
                CR2_WRITE_TRAP = 0x092, "cr2_write_trap";
                /// After a write of CR3. C: `SVM_EXIT_CR3_WRITE_TRAP`.
                CR3_WRITE_TRAP = 0x093, "cr3_write_trap";
                /// After a write of CR4. C: `SVM_EXIT_CR4_WRITE_TRAP`.
                CR4_WRITE_TRAP = 0x094, "cr4_write_trap";
                /// After a write of CR5. C: `SVM_EXIT_CR5_WRITE_TRAP`.
                CR5_WRITE_TRAP = 0x095, "cr5_write_trap";
                /// After a write of CR6. C: `SVM_EXIT_CR6_WRITE_TRAP`.
                CR6_WRITE_TRAP = 0x096, "cr6_write_trap";
                /// After a write of CR7. C: `SVM_EXIT_CR7_WRITE_TRAP`.
                CR7_WRITE_TRAP = 0x097, "cr7_write_trap";
                /// After a write of CR8. C: `SVM_EXIT_CR8_WRITE_TRAP`.
                CR8_WRITE_TRAP = 0x098, "cr8_write_trap";
                /// After a write of CR9. C: `SVM_EXIT_CR9_WRITE_TRAP`.
                CR9_WRITE_TRAP = 0x099, "cr9_write_trap";
                /// After a write of CR10. C: `SVM_EXIT_CR10_WRITE_TRAP`.
                CR10_WRITE_TRAP = 0x09a, "cr10_write_trap";
                /// After a write of CR11. C: `SVM_EXIT_CR11_WRITE_TRAP`.
                CR11_WRITE_TRAP = 0x09b, "cr11_write_trap";
                /// After a write of CR12. C: `SVM_EXIT_CR12_WRITE_TRAP`.
                CR12_WRITE_TRAP = 0x09c, "cr12_write_trap";
                /// After a write of CR13. C: `SVM_EXIT_CR13_WRITE_TRAP`.
                CR13_WRITE_TRAP = 0x09d, "cr13_write_trap";
                /// After a write of CR14. C: `SVM_EXIT_CR14_WRITE_TRAP`.
                CR14_WRITE_TRAP = 0x09e, "cr14_write_trap";
                /// After a write of CR15. C: `SVM_EXIT_CR15_WRITE_TRAP`.
                CR15_WRITE_TRAP = 0x09f, "cr15_write_trap";
                /// INVPCID. C: `SVM_EXIT_INVPCID`.
                INVPCID = 0x0a2, "invpcid";
                /// Bus lock. C: `SVM_EXIT_BUS_LOCK`.
                BUS_LOCK = 0x0a5, "bus_lock";
                /// HLT without a pending virtual interrupt. C: `SVM_EXIT_IDLE_HLT`.
                IDLE_HLT = 0x0a6, "idle_hlt";
                /// Nested page fault. C: `SVM_EXIT_NPF`.
                NPF = 0x400, "npf";
                /// AVIC could not deliver an IPI. C: `SVM_EXIT_AVIC_INCOMPLETE_IPI`.
                AVIC_INCOMPLETE_IPI = 0x401, "avic_incomplete_ipi";
                /// AVIC does not cover this register. C: `SVM_EXIT_AVIC_UNACCELERATED_ACCESS`.
                AVIC_UNACCELERATED_ACCESS = 0x402, "avic_unaccelerated_access";
                /// The VMGEXIT instruction itself; as an event it would make a handler call itself. C:
                /// `SVM_EXIT_VMGEXIT`.
                VMGEXIT = 0x403, "vmgexit";
                /// Left to software. C: `SVM_EXIT_SW`.
                SW = 0xf000_0000, "sw";
                /// VMRUN failed: invalid guest state. C: `SVM_EXIT_ERR`.
                ERR = u64::MAX, "err";
            }
        }
    };
}

for_each_event!(exit_codes);

impl ExitCode {
    /// The exit code of an intercepted exception, vector 0 to 31.
    pub const fn exception(vector: u8) -> Option<Self> {
        if vector < 32 {
            Some(Self(Self::EXCP_BASE.0 + vector as u64))
        } else {
            None
        }
    }
}
