// SPDX-License-Identifier: GPL-2.0

//! What KVM's C handler does for guests with SEV-SNP besides.
//!
//! C: `snp_begin_psc_msr()`, `snp_begin_psc()`, `snp_handle_guest_req()`, `snp_handle_ext_guest_req()`,
//! `snp_complete_req_certs()`, `sev_snp_ap_creation()`, of `arch/x86/kvm/svm/sev.c`.

use ghcb_rs::vmgexit::host::{CertificateAnswer, PageRange, RangeAnswer};

use super::{
    super::{
        case::{Case, Snp, MEMORY},
        snp::{FEATURES, RESERVED_GPA_BITS},
        Call, GPA,
    },
    c_model::{answer, word, Asked, Model, EINVAL, EIO},
    psc,
};

/// APIC IDs of the scripted host's vCPUs.
pub(super) const APIC_IDS: [u32; 3] = [0, 1, 4];

/// "Invalid length", "busy" and "generic" of the hypervisor's errors, as SW_EXITINFO2.
const LENGTH: u64 = 1 << 32;
const BUSY: u64 = 2 << 32;
const GENERIC: u64 = 0xffff_ffff << 32;

/// What a guest with SEV-SNP meets.
pub(super) fn of(case: &Case) -> &Snp {
    case.snp.as_ref().expect("no guest with SEV-SNP")
}

/// The list of page state changes of a case as C goes through it. `quirk`: see [`psc`].
pub(super) fn list(case: &Case, page: &[u64], quirk: bool) -> psc::End {
    let mut answers = of(case).range_answers.clone();
    let bytes = page.iter().flat_map(|word| word.to_le_bytes()).collect();
    let answer = || answers.pop().unwrap_or(RangeAnswer::Done);
    psc::run(bytes, (case.scratch & 0xfff) as usize, quirk, answer)
}

impl Model<'_> {
    pub(super) fn page_by_msr(&mut self, msr: u64) -> i32 {
        let operation = (msr >> 52) & 0xf;
        if !matches!(operation, 1 | 2) || !of(self.case).can_change_pages {
            self.msr = 0x8000_0000_0000_0015;
            return 1;
        }
        let range = PageRange {
            gpa: msr & 0x000f_ffff_ffff_f000,
            pages: 1,
            is_private: operation == 1,
            is_huge: false,
        };
        self.asked.push(Asked::Snp(Call::PageByMsr(range)));
        0
    }

    pub(super) fn page_state_change(&mut self) -> i32 {
        let begin = self.field(word::SCRATCH);
        let end = begin.wrapping_add(8);
        let is_in_buffer = begin & !0xfff == GPA && begin >= GPA + 0x800 && end <= GPA + 0xff0;
        if !is_in_buffer {
            return self.bad_input(3);
        }
        if !of(self.case).can_change_pages {
            answer(&mut self.page, 0, psc::GENERIC);
            return 1;
        }
        let end = list(self.case, &self.page, true);
        self.put_list(&end)
    }

    /// What a list comes to.
    pub(super) fn put_list(&mut self, end: &psc::End) -> i32 {
        for (word, bytes) in self.page.iter_mut().zip(end.page.chunks_exact(8)) {
            *word = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        }
        answer(&mut self.page, 0, end.info2);
        let ranges = end
            .asked
            .iter()
            .map(|range| Asked::Snp(Call::Range(*range)));
        self.asked.extend(ranges);
        i32::from(end.asked.is_empty())
    }

    /// Guest memory, if all of it is there.
    fn guest_memory(&mut self, gpa: u64, len: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(gpa.checked_sub(MEMORY)?).ok()?;
        self.memory.get_mut(start..start.checked_add(len)?)
    }

    pub(super) fn guest_request(&mut self, code: u64, request: u64, response: u64) -> i32 {
        if request % 0x1000 != 0 || response % 0x1000 != 0 || request == response {
            return self.bad_input(5);
        }
        if code == 0x8000_0011 {
            return self.send(request, response);
        }
        let Some(message) = self.guest_memory(request, 0x1000) else {
            return EIO;
        };
        if message[0x34] == 5 {
            let [data, pages] = [self.field(word::RAX), self.field(word::RBX)];
            if !self.are_valid(&[word::RAX, word::RBX]) || data % 0x1000 != 0 {
                return self.bad_input(5);
            }
            if of(self.case).has_certificates {
                self.asked.push(Asked::Snp(Call::Certificates(data, pages)));
                self.later = self.certificates(request, response);
                return 0;
            }
            if pages != 0 {
                let Some(end) = self.guest_memory(data, 24) else {
                    return EIO;
                };
                end.fill(0);
            }
        }
        self.send(request, response)
    }

    fn certificates(&mut self, request: u64, response: u64) -> i32 {
        match of(self.case).certificate_answer {
            CertificateAnswer::Done => return self.send(request, response),
            CertificateAnswer::TooFewPages(needed) => {
                self.registers[1] = needed;
                answer(&mut self.page, 0, LENGTH);
            }
            CertificateAnswer::Busy => answer(&mut self.page, 0, BUSY),
            CertificateAnswer::Failed => answer(&mut self.page, 0, GENERIC),
            // KVM_RUN fails, and what is in the page stays.
            CertificateAnswer::Invalid => return EINVAL,
        }
        1
    }

    /// C: `snp_handle_guest_req()`.
    fn send(&mut self, request: u64, response: u64) -> i32 {
        let Some(message) = self.guest_memory(request, 0x1000) else {
            return EIO;
        };
        let message = message.to_vec();
        let inverted: Vec<_> = message.iter().map(|byte| !byte).collect();
        self.asked.push(Asked::Snp(Call::Firmware(message)));
        let status = match of(self.case).firmware {
            Ok(answer) => answer.status,
            Err(fault) => return fault.0,
        };
        let Some(place) = self.guest_memory(response, 0x1000) else {
            return EIO;
        };
        place.copy_from_slice(&inverted);
        answer(&mut self.page, 0, status.into());
        1
    }

    pub(super) fn create_ap(&mut self, info1: u64, vmsa: u64) -> i32 {
        let (operation, apic_id) = (info1 as u32, (info1 >> 32) as u32);
        let is_page = vmsa % 0x1000 == 0 && vmsa & RESERVED_GPA_BITS == 0;
        let is_vmsa = is_page && vmsa % (2 << 20) != 0 && self.field(word::RAX) == FEATURES;
        let vmsa = match operation {
            0 | 1 if is_vmsa => Some(vmsa),
            2 => None,
            _ => return self.bad_input(5),
        };
        if !APIC_IDS.contains(&apic_id) {
            return self.bad_input(5);
        }
        let call = Call::Vmsa(apic_id, vmsa, operation != 0);
        self.asked.push(Asked::Snp(call));
        1
    }
}
