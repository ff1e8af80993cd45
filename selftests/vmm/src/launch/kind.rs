// SPDX-License-Identifier: GPL-2.0
//! The kinds of guests.

use clap::ValueEnum;
use std::fmt;
use std::sync::OnceLock;

/// How a guest is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// SEV-ES: encrypted memory and registers.
    #[default]
    SevEs,
    /// SEV-SNP: its memory is its own, too, and each page has an entry in the reverse map table.
    SevSnp,
}

/// What `--guest` chose for this run of the program.
static CHOSEN: OnceLock<Kind> = OnceLock::new();

impl Kind {
    /// Make `self` the kind of all guests of this program. Only the first call counts.
    pub fn choose(self) {
        let _ = CHOSEN.set(self);
    }

    /// The kind of this program's guests.
    pub fn chosen() -> Self {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// Whether guests of this kind have the events of SEV-SNP.
    pub fn is_snp(self) -> bool {
        self == Self::SevSnp
    }

    /// Protocol versions that KVM speaks with guests of this kind, the newest first.
    pub fn versions(self) -> &'static [u16] {
        match self {
            Self::SevEs => &[2, 1],
            Self::SevSnp => &[2],
        }
    }

    /// The type for `KVM_CREATE_VM`: `KVM_X86_SEV_ES_VM` or `KVM_X86_SNP_VM`.
    pub fn vm_type(self) -> u64 {
        match self {
            Self::SevEs => 3,
            Self::SevSnp => 4,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SevEs => "sev-es",
            Self::SevSnp => "sev-snp",
        })
    }
}
