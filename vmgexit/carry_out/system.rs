// SPDX-License-Identifier: GPL-2.0

//! Events about the guest as a whole, and registers that the host keeps.

use crate::{
    ghcb_abi::{features::Features, reply::Reply},
    vmgexit::{
        flow::Flow,
        host::{AfterExit, Complaint, Vcpu},
        request::system::SystemEvent,
    },
};

/// Features that a host offers: all that are defined are for SEV-SNP, and each that is offered is answered.
/// C: `GHCB_HV_FT_SUPPORTED`, without the last one.
pub(in crate::vmgexit) const fn features(is_snp: bool) -> Features {
    if is_snp {
        Features::SNP
            .union(Features::SNP_AP_CREATION)
            .union(Features::APIC_ID_LIST)
    } else {
        Features::NONE
    }
}

impl SystemEvent {
    /// Carries the event out.
    #[inline(always)]
    pub(in crate::vmgexit) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Flow<V::Buffer> {
        match self {
            Self::NmiComplete => {
                vcpu.nmi_complete();
                Flow::Reply(Reply::no_action(0))
            }
            Self::HypervisorFeatures => Flow::Reply(Reply::no_action(features(vcpu.is_snp()).0)),
            Self::Terminate { info1, info2 } => {
                vcpu.complain(Complaint::Terminated { info1, info2 });
                vcpu.terminate();
                Flow::ReplyEarly(AfterExit::USERSPACE)
            }
            Self::Unsupported { info1, info2 } => {
                vcpu.complain(Complaint::UnsupportedEvent { info1, info2 });
                Flow::ReplyEarly(AfterExit::UNSUPPORTED)
            }
            Self::ReadDr7 => Flow::Reply(Reply::no_action(0).with_rax(vcpu.dr7())),
            Self::WriteDr7(value) => {
                vcpu.set_dr7(value);
                Flow::Reply(Reply::no_action(0))
            }
        }
    }
}
