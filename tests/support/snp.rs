// SPDX-License-Identifier: GPL-2.0

//! What a guest with SEV-SNP has besides.

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, page::PAGE_SIZE},
    vmgexit::{
        carry_out::{guest_request, page_state},
        host::{
            ApCreation, ApicIds, CertificateAnswer, FirmwareAnswer, GuestRequests, HostFault,
            NoSuchVcpu, OutOfReach, PageRange, PageState, RangeAnswer, Registration,
        },
        AfterExit,
    },
};

use super::{Call, Host};

/// The SEV features of each VMSA.
pub const FEATURES: u64 = 0x21;

/// The first bit that no address of the guest has.
pub const RESERVED_GPA_BITS: u64 = u64::MAX << 46;

/// The host, as far as its guest has SEV-SNP.
#[derive(Debug)]
pub struct Snp {
    /// Whether it has.
    pub active: bool,
    /// The GHCB that it has registered.
    pub registered: u64,
    /// Whether userspace changes pages.
    pub can_change_pages: bool,
    /// What userspace says of a range.
    pub range_answer: RangeAnswer,
    /// What it says of those that are still to come, unless a test says it itself.
    pub range_answers: Vec<RangeAnswer>,
    /// Whether the VM may ask the firmware.
    pub may_ask: bool,
    /// Whether userspace provides certificates.
    pub has_certificates: bool,
    pub certificate_answer: CertificateAnswer,
    /// What the firmware makes of a message: it turns each bit of it.
    pub firmware: Result<FirmwareAnswer, HostFault>,
    /// Whether a message that was read is another one when it is read again.
    pub changing: bool,
    /// APIC IDs of the VM's vCPUs.
    pub apic_ids: Vec<u32>,
}

impl Default for Snp {
    fn default() -> Self {
        Self {
            active: false,
            registered: u64::MAX,
            can_change_pages: true,
            range_answer: RangeAnswer::Done,
            range_answers: Vec::new(),
            may_ask: true,
            has_certificates: false,
            certificate_answer: CertificateAnswer::Done,
            firmware: Ok(FirmwareAnswer { status: 0 }),
            changing: false,
            apic_ids: vec![0, 1, 4],
        }
    }
}

impl Registration for Host {
    fn is_snp(&self) -> bool {
        self.snp.active
    }

    fn is_registered(&self, gpa: u64) -> bool {
        self.snp.registered == gpa
    }

    fn register(&mut self, gpa: u64) {
        assert!(self.snp.active, "no guest with SEV-SNP");
        self.log.push(Call::Register(gpa));
        self.snp.registered = gpa;
    }
}

impl PageState for Host {
    fn can_change_pages(&self) -> bool {
        self.snp.can_change_pages
    }

    fn allocate(&mut self, len: usize) -> Option<Vec<u8>> {
        assert!(len <= 0x7f0, "{len:#x} bytes are more than a list has");
        self.may_sleep();
        self.can_allocate.then(|| vec![0; len])
    }

    fn ask_for_range(&mut self, range: &PageRange) {
        self.log.push(Call::Range(*range));
    }

    fn ask_for_page(&mut self, range: &PageRange) {
        self.log.push(Call::PageByMsr(*range));
    }

    fn range_answer(&self) -> RangeAnswer {
        self.snp.range_answer
    }
}

impl GuestRequests for Host {
    fn may_ask_firmware(&mut self) -> bool {
        self.snp.may_ask
    }

    fn read_message(&mut self, gpa: u64) -> Result<Option<Vec<u8>>, OutOfReach> {
        self.may_sleep();
        self.log.push(Call::ReadMessage(gpa));
        let can_allocate = self.can_allocate;
        let changing = self.snp.changing;
        let message = self.guest_memory(gpa, PAGE_SIZE).ok_or(OutOfReach)?;
        let copy = message.to_vec();
        if changing {
            message.iter_mut().for_each(|byte| *byte = !*byte);
        }
        Ok(can_allocate.then_some(copy))
    }

    fn write_message(&mut self, gpa: u64, message: &Vec<u8>) -> Result<(), OutOfReach> {
        self.may_sleep();
        self.log.push(Call::WriteMessage(gpa));
        self.guest_memory(gpa, message.len())
            .ok_or(OutOfReach)?
            .copy_from_slice(message);
        Ok(())
    }

    fn clear(&mut self, gpa: u64, len: usize) -> Result<(), OutOfReach> {
        self.log.push(Call::Clear(gpa, len));
        self.guest_memory(gpa, len).ok_or(OutOfReach)?.fill(0);
        Ok(())
    }

    fn ask_firmware(&mut self, message: &mut Vec<u8>) -> Result<FirmwareAnswer, HostFault> {
        self.may_sleep();
        self.log.push(Call::Firmware(message.clone()));
        message.iter_mut().for_each(|byte| *byte = !*byte);
        self.snp.firmware
    }

    fn has_certificates(&self) -> bool {
        self.snp.has_certificates
    }

    fn ask_for_certificates(&mut self, gpa: u64, pages: u64) {
        self.log.push(Call::Certificates(gpa, pages));
        self.registers.rbx = pages;
    }

    fn certificate_answer(&self) -> CertificateAnswer {
        self.snp.certificate_answer
    }
}

impl ApCreation for Host {
    fn vmsa_features(&self) -> u64 {
        FEATURES
    }

    fn is_legal_gpa(&self, gpa: u64) -> bool {
        gpa & RESERVED_GPA_BITS == 0
    }

    fn replace_vmsa(
        &mut self,
        apic_id: u32,
        vmsa: Option<u64>,
        now: bool,
    ) -> Result<(), NoSuchVcpu> {
        self.may_sleep();
        if !self.snp.apic_ids.contains(&apic_id) {
            return Err(NoSuchVcpu);
        }
        self.log.push(Call::Vmsa(apic_id, vmsa, now));
        Ok(())
    }
}

impl ApicIds for Host {
    fn vcpus(&self) -> u32 {
        self.snp.apic_ids.len() as u32
    }

    fn write_apic_ids(&mut self, gpa: u64, count: u32) -> Result<(), OutOfReach> {
        let ids = std::iter::once(&count).chain(&self.snp.apic_ids[..count as usize]);
        let list: Vec<_> = ids.flat_map(|id| id.to_le_bytes()).collect();
        self.write_message(gpa, &list)
    }
}

impl Host {
    /// A host whose guest has SEV-SNP, and has registered its page.
    pub fn snp() -> Self {
        let mut host = Self::new();
        host.snp.active = true;
        host.snp.registered = super::GPA;
        host
    }

    /// Userspace has answered what it was asked for a range: C's `snp_complete_one_psc()`, as it is replaced.
    pub fn range_done(&mut self, answer: RangeAnswer) -> AfterExit {
        self.snp.range_answer = answer;
        let call = self.begin_call()();
        let outcome = page_state::go_on(self);
        drop(call);
        outcome
    }

    /// Userspace does what it was asked for, if an event of SEV-SNP asked.
    pub(super) fn snp_done(&mut self) {
        loop {
            let code = self.sev_es.words.decode().map(|record| record.exit.code);
            match code {
                Some(ExitCode::PAGE_STATE_CHANGE) => {
                    let answer = self.snp.range_answers.pop().unwrap_or(RangeAnswer::Done);
                    if self.range_done(answer) != AfterExit::USERSPACE {
                        return;
                    }
                }
                Some(ExitCode::EXT_GUEST_REQUEST) => {
                    self.certificates_done(self.snp.certificate_answer);
                    return;
                }
                _ => return,
            }
        }
    }

    /// The same for certificates: C's `snp_complete_req_certs()`, as it is replaced.
    pub fn certificates_done(&mut self, answer: CertificateAnswer) -> AfterExit {
        self.snp.certificate_answer = answer;
        let call = self.begin_call()();
        let outcome = guest_request::go_on(self);
        drop(call);
        outcome
    }
}
