// SPDX-License-Identifier: GPL-2.0

//! The table of events: what each is called, takes and returns, and how that is known.
//!
//! A row is all that has to be said of an event. [`ExitCode`]'s constants and names, the rules below, and
//! what exits are counted as follow from it. To add an event, add a row; `docs/add-an-event.md` says what
//! else there may be to do.

use super::{
    ap::ApCreation,
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    ioio::IoInfo,
    page::Field::{self, *},
    secure_avic::SecureAvicOperation,
};

/// Hands all rows to the macro `$then`, which takes of them what it needs.
///
/// A row reads `CODE = number, "name", Family, known from Source { kinds }`. A kind is what a request is
/// counted as: `Name "name" if condition { forms }`, and a form of a request is
/// `if condition: needs [..] takes [..] returns [..];`. Conditions are functions of SW_EXITINFO1 at the end
/// of this file; of several kinds or forms the first whose condition holds counts, and the last has none.
///
/// - `needs`: fields which a request must mark valid, besides the exit code and both infos;
/// - `takes`: fields which it may leave out, and which mean something if they are there;
/// - `returns`: registers which a reply marks valid.
macro_rules! for_each_event {
    ($then:ident) => {
        $then! {
            /// Read of DR7. C: `SVM_EXIT_READ_DR7`.
            READ_DR7 = 0x027, "read_dr7", System, known from Kvm {
                ReadDr7 "read_dr7" { returns [Rax]; }
            }
            /// Write of DR7. C: `SVM_EXIT_WRITE_DR7`.
            WRITE_DR7 = 0x037, "write_dr7", System, known from Kvm {
                WriteDr7 "write_dr7" { needs [Rax]; }
            }
            /// RDTSC. C: `SVM_EXIT_RDTSC`.
            RDTSC = 0x06e, "rdtsc", TimeStamp, known from Kvm {
                Rdtsc "rdtsc" { returns [Rax, Rdx]; }
            }
            /// RDPMC. C: `SVM_EXIT_RDPMC`.
            RDPMC = 0x06f, "rdpmc", Instruction, known from Kvm {
                Rdpmc "rdpmc" { needs [Rcx] takes [Cpl] returns [Rax, Rdx]; }
            }
            /// CPUID. Function 0xD also needs XCR0: see [`ExitCode::CPUID_NEEDS_XCR0`]. C: `SVM_EXIT_CPUID`.
            CPUID = 0x072, "cpuid", Instruction, known from Kvm {
                Cpuid "cpuid" { needs [Rax, Rcx] takes [Xcr0, Xss] returns [Rax, Rbx, Rcx, Rdx]; }
            }
            /// INVD. C: `SVM_EXIT_INVD`.
            INVD = 0x076, "invd", Instruction, known from Kvm {
                Invd "invd" { ; }
            }
            /// IN, OUT, INS, OUTS; see [`ioio`](super::ioio). IN of less than four bytes leaves
            /// the rest of RAX as it was. C: `SVM_EXIT_IOIO`.
            IOIO = 0x07b, "ioio", PortIo, known from Kvm {
                StringIo "string_io" if is_string_io { needs [SwScratch]; }
                PortIo "port_io" { if is_in: takes [Rax] returns [Rax]; needs [Rax]; }
            }
            /// RDMSR (SW_EXITINFO1 is zero) or WRMSR (it is 1). C: `SVM_EXIT_MSR`.
            MSR = 0x07c, "msr", Instruction, known from Kvm {
                ReadMsr "read_msr" if is_rdmsr { needs [Rcx] returns [Rax, Rdx]; }
                WriteMsr "write_msr" { needs [Rax, Rcx, Rdx]; }
            }
            /// VMMCALL. C: `SVM_EXIT_VMMCALL`.
            VMMCALL = 0x081, "vmmcall", Instruction, known from Kvm {
                Vmmcall "vmmcall" { needs [Rax, Cpl] takes [Rbx, Rcx, Rdx, Rsi] returns [Rax]; }
            }
            /// RDTSCP. C: `SVM_EXIT_RDTSCP`.
            RDTSCP = 0x087, "rdtscp", TimeStamp, known from Kvm {
                Rdtscp "rdtscp" { returns [Rax, Rcx, Rdx]; }
            }
            /// WBINVD. C: `SVM_EXIT_WBINVD`.
            WBINVD = 0x089, "wbinvd", Instruction, known from Kvm {
                Wbinvd "wbinvd" { ; }
            }
            /// MONITOR or MONITORX. C: `SVM_EXIT_MONITOR`.
            MONITOR = 0x08a, "monitor", Instruction, known from Kvm {
                Monitor "monitor" { needs [Rax, Rcx, Rdx]; }
            }
            /// MWAIT or MWAITX. C: `SVM_EXIT_MWAIT`.
            MWAIT = 0x08b, "mwait", Instruction, known from Kvm {
                Mwait "mwait" { needs [Rax, Rcx]; }
            }
            /// Read of memory-mapped I/O; see [`mmio`](super::mmio). C: `SVM_VMGEXIT_MMIO_READ`.
            MMIO_READ = 0x8000_0001, "mmio_read", Mmio, known from Kvm {
                MmioRead "mmio_read" { needs [SwScratch]; }
            }
            /// Write of memory-mapped I/O; see [`mmio`](super::mmio). C: `SVM_VMGEXIT_MMIO_WRITE`.
            MMIO_WRITE = 0x8000_0002, "mmio_write", Mmio, known from Kvm {
                MmioWrite "mmio_write" { needs [SwScratch]; }
            }
            /// The guest has handled its NMI and takes the next. C: `SVM_VMGEXIT_NMI_COMPLETE`.
            NMI_COMPLETE = 0x8000_0003, "nmi_complete", System, known from Kvm {
                NmiComplete "nmi_complete" { ; }
            }
            /// Wait for a SIPI; see [`ap`](super::ap). A host may return the registers as they are. C:
            /// `SVM_VMGEXIT_AP_HLT_LOOP`.
            AP_RESET_HOLD = 0x8000_0004, "ap_reset_hold", Ap, known from Kvm {
                ApResetHold "ap_reset_hold" { takes [Rax, Rbx, Rcx, Rdx]; }
            }
            /// Set or get the AP jump table; see [`ap`](super::ap). C: `SVM_VMGEXIT_AP_JUMP_TABLE`.
            AP_JUMP_TABLE = 0x8000_0005, "ap_jump_table", Ap, known from Kvm {
                ApJumpTable "ap_jump_table" { ; }
            }
            /// Make pages private or shared; see [`psc`](super::psc). C: `SVM_VMGEXIT_PSC`.
            PAGE_STATE_CHANGE = 0x8000_0010, "page_state_change", Snp, known from Kvm {
                PageStateChange "page_state_change" { needs [SwScratch]; }
            }
            /// Message to the firmware; see [`guest_request`](super::guest_request). C:
            /// `SVM_VMGEXIT_GUEST_REQUEST`.
            GUEST_REQUEST = 0x8000_0011, "guest_request", Snp, known from Kvm {
                GuestRequest "guest_request" { ; }
            }
            /// The same, with room for certificates: RAX and RBX, which a request for an attestation report
            /// needs. C: `SVM_VMGEXIT_EXT_GUEST_REQUEST`.
            EXT_GUEST_REQUEST = 0x8000_0012, "ext_guest_request", Snp, known from Kvm {
                ExtGuestRequest "ext_guest_request" { takes [Rax, Rbx] returns [Rbx]; }
            }
            /// Create or destroy a vCPU's VMSA; see [`ap`](super::ap). C: `SVM_VMGEXIT_AP_CREATION`.
            AP_CREATION = 0x8000_0013, "ap_creation", Snp, known from Kvm {
                ApCreation "ap_creation" { if is_ap_destroy: takes [Rax]; needs [Rax]; }
            }
            /// #HV doorbell page; see [`doorbell`](super::doorbell).
            HV_DOORBELL = 0x8000_0014, "hv_doorbell", Snp, known from Svsm {
                HvDoorbell "hv_doorbell" { ; }
            }
            /// IPI under restricted injection; see [`doorbell`](super::doorbell).
            HV_IPI = 0x8000_0015, "hv_ipi", Snp, known from Svsm {
                HvIpi "hv_ipi" { ; }
            }
            /// Timer under restricted injection.
            HV_TIMER = 0x8000_0016, "hv_timer", Snp, known from Number {
                HvTimer "hv_timer" { ; }
            }
            /// APIC IDs of all vCPUs; see [`apic_ids`](super::apic_ids).
            APIC_ID_LIST = 0x8000_0017, "apic_id_list", Snp, known from Patches {
                ApicIdList "apic_id_list" { needs [Rax] returns [Rax]; }
            }
            /// Run another VMPL of this vCPU; SW_EXITINFO1 is its number. C: `SVM_VMGEXIT_SNP_RUN_VMPL`.
            RUN_VMPL = 0x8000_0018, "run_vmpl", Snp, known from Svsm {
                RunVmpl "run_vmpl" { ; }
            }
            /// Backing page of Secure AVIC; see [`secure_avic`](super::secure_avic). C:
            /// `SVM_VMGEXIT_SAVIC`.
            SECURE_AVIC = 0x8000_001a, "secure_avic", Snp, known from LinuxGuest {
                SecureAvic "secure_avic" { if is_savic_register: needs [Rax, Rbx]; needs [Rax] returns [Rbx]; }
            }
            /// Message about a trusted device; see [`tio`](super::tio).
            TIO_GUEST_REQUEST = 0x8000_0020, "tio_guest_request", Snp, known from Patches {
                TioGuestRequest "tio_guest_request" { takes [Rax, Rbx, Rcx, Rdx] returns [Rbx, Rdx]; }
            }
            /// Bind or run a trusted device; see [`tio`](super::tio).
            TIO_OPERATION = 0x8000_0021, "tio_operation", Snp, known from Patches {
                TioOperation "tio_operation" { returns [Rcx]; }
            }
            /// Hypervisor features; see [`features`](super::features). C: `SVM_VMGEXIT_HV_FEATURES`.
            HV_FEATURES = 0x8000_fffd, "hv_features", System, known from Kvm {
                HvFeatures "hv_features" { ; }
            }
            /// End this guest; see [`terminate`](super::terminate). C: `SVM_VMGEXIT_TERM_REQUEST`.
            TERMINATE = 0x8000_fffe, "terminate", System, known from Kvm {
                Terminate "terminate" { ; }
            }
            /// The guest met a #VC that it cannot handle; SW_EXITINFO1 is that exit code. C:
            /// `SVM_VMGEXIT_UNSUPPORTED_EVENT`.
            UNSUPPORTED_EVENT = 0x8000_ffff, "unsupported_event", System, known from Kvm {
                UnsupportedEvent "unsupported_event" { ; }
            }
        }
    };
}

pub(crate) use for_each_event;

/// Which part of the protocol an event belongs to: who decodes it and carries it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// An instruction that works on registers.
    Instruction,
    /// The time stamp counter.
    TimeStamp,
    /// Port I/O.
    PortIo,
    /// Memory-mapped I/O.
    Mmio,
    /// Application processors.
    Ap,
    /// The guest as a whole, or a register that the host keeps.
    System,
    /// Events that are for SEV-SNP guests alone.
    Snp,
}

/// How the operands and results of an event are known.
///
/// The specification is the authority; what is said here was read in these, and holds as far as they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// KVM answers the event. Needed is what its handler refuses to do without.
    Kvm,
    /// KVM does not answer it, but Linux as a guest uses it. Needed is what Linux supplies.
    LinuxGuest,
    /// Neither, but COCONUT-SVSM as a guest uses it. Needed is what that supplies.
    Svsm,
    /// Only patches to Linux that are not part of it. Needed is what their host refuses to do without, if
    /// they have a host.
    Patches,
    /// None: no more than its number is known.
    Number,
}

/// What a request must mark valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Required {
    /// The fields. Always includes the exit code and both infos.
    pub fields: ValidBitmap,
    /// How that is known; `None` for a number that is no event, of which nothing is.
    pub source: Option<Source>,
}

/// Makes the functions of an exit code of the table.
macro_rules! rules {
    ($(
        $(#[$doc:meta])*
        $event:ident = $code:literal, $name:literal, $family:ident, known from $source:ident {
            $( $kind:ident $label:literal $(if $when:ident)? { $(
                $(if $case:ident:)?
                $(needs [$($needs:ident),*])? $(takes [$($takes:ident),*])? $(returns [$($returns:ident),*])?;
            )* } )*
        }
    )*) => {
        impl ExitCode {
            /// Every event, in the order of exit codes.
            pub const EVENTS: &'static [Self] = &[$( Self::$event ),*];

            /// The part of the protocol that the event belongs to; `None` if this is no event.
            #[inline(always)]
            pub const fn family(self) -> Option<Family> {
                match self {
                    $( Self::$event => Some(Family::$family), )*
                    _ => None,
                }
            }

            /// How the operands and results of the event are known; `None` if this is no event.
            pub const fn source(self) -> Option<Source> {
                match self {
                    $( Self::$event => Some(Source::$source), )*
                    _ => None,
                }
            }

            /// Fields that a request must mark valid, as far as the exit code and SW_EXITINFO1 tell, and how
            /// that is known. KVM answers a request without one of these with
            /// [`ErrorReason::MISSING_INPUT`](super::reply::ErrorReason::MISSING_INPUT).
            ///
            /// One rule needs more: a CPUID request for function 0xD, that is, with
            /// [`CPUID_NEEDS_XCR0`](Self::CPUID_NEEDS_XCR0) in RAX, must also supply XCR0.
            /// [`Snapshot::missing`](super::snapshot::Snapshot::missing) has them all.
            ///
            /// ```
            /// use ghcb_abi::{event::Source, exit_code::ExitCode, page::Field};
            /// assert!(ExitCode::MSR.required(1).fields.contains(Field::Rdx));
            /// assert!(!ExitCode::MSR.required(0).fields.contains(Field::Rdx));
            /// assert_eq!(ExitCode::MSR.required(0).source, Some(Source::Kvm));
            /// assert_eq!(ExitCode::HV_TIMER.required(0).source, Some(Source::Number));
            /// ```
            #[inline]
            pub const fn required(self, info1: u64) -> Required {
                Required {
                    fields: self.needed(info1).union(ValidBitmap::EXIT),
                    source: self.source(),
                }
            }

            /// Fields beyond the exit code and the infos that the event needs.
            #[inline(always)]
            pub(super) const fn needed(self, info1: u64) -> ValidBitmap {
                match self {
                    $($(
                        Self::$event if true $(&& $when(info1))? => {
                            $( if true $(&& $case(info1))? {
                                return const { set(&[$($($needs),*)?]) };
                            } )*
                            ValidBitmap::EMPTY
                        }
                    )*)*
                    _ => ValidBitmap::EMPTY,
                }
            }

            /// Fields beyond the exit code and the infos which the event can use when they are valid: the
            /// required ones, and those that have a meaning but may be left out.
            ///
            /// A reader that wants no more of the page than it needs reads these.
            #[inline(always)]
            pub const fn operands(self, info1: u64) -> ValidBitmap {
                match self {
                    $($(
                        Self::$event if true $(&& $when(info1))? => {
                            $( if true $(&& $case(info1))? {
                                return const { set(&[$($($needs,)*)? $($($takes,)*)?]) };
                            } )*
                            ValidBitmap::EMPTY
                        }
                    )*)*
                    _ => ValidBitmap::EMPTY,
                }
            }

            /// Registers that a reply to the event returns.
            ///
            /// Both infos come with every reply and are not listed; what SW_EXITINFO2 then means, the module
            /// of the event says.
            #[inline(always)]
            pub const fn returned(self, info1: u64) -> ValidBitmap {
                match self {
                    $($(
                        Self::$event if true $(&& $when(info1))? => {
                            $( if true $(&& $case(info1))? {
                                return const { set(&[$($($returns),*)?]) };
                            } )*
                            ValidBitmap::EMPTY
                        }
                    )*)*
                    _ => ValidBitmap::EMPTY,
                }
            }
        }
    };
}

for_each_event!(rules);

impl ExitCode {
    /// CPUID function which needs XCR0: the size of the XSAVE area depends on it.
    pub const CPUID_NEEDS_XCR0: u64 = 0xd;

    /// Whether the protocol defines an event with this code.
    pub const fn is_event(self) -> bool {
        self.family().is_some()
    }

    /// Whether this is an event which only SEV-SNP guests may use.
    #[inline]
    pub const fn is_snp_event(self) -> bool {
        matches!(self.family(), Some(Family::Snp))
    }
}

/// The set of the given fields.
const fn set(fields: &[Field]) -> ValidBitmap {
    ValidBitmap::of(fields)
}

/// Whether IOIO is about INS or OUTS.
#[inline]
pub(crate) const fn is_string_io(info1: u64) -> bool {
    IoInfo(info1).is_string()
}

/// Whether IOIO is about IN.
#[inline]
pub(crate) const fn is_in(info1: u64) -> bool {
    IoInfo(info1).is_in()
}

/// Whether MSR is about RDMSR. KVM takes any number but zero for WRMSR.
#[inline]
pub(crate) const fn is_rdmsr(info1: u64) -> bool {
    info1 == 0
}

/// Whether AP creation is about a vCPU that stops.
const fn is_ap_destroy(info1: u64) -> bool {
    ApCreation::decode(info1).is_destroy()
}

/// Whether Secure AVIC is to use a page.
const fn is_savic_register(info1: u64) -> bool {
    info1 == SecureAvicOperation::REGISTER_GPA.0
}
