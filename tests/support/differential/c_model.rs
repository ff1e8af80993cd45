// SPDX-License-Identifier: GPL-2.0

//! What KVM's C handler does with an exit of a guest with SEV-ES or SEV-SNP, from the tables of the protocol and the
//! behaviour of `arch/x86/kvm/svm/sev.c` (7.3). Deliberately naive, and without a line of `ghcb_abi`.

use ghcb_rs::vmgexit::{host::Fulfilment, request::registers::Registers, AfterExit};

use super::super::{
    case::{Case, MEMORY},
    host::{results, DEVICE},
    Call, GPA,
};

/// Numbers of quad words of the page, which are those of their valid bits.
pub(crate) mod word {
    pub(crate) const CPL: usize = 25;
    pub(crate) const XSS: usize = 40;
    pub(crate) const RAX: usize = 63;
    pub(crate) const RCX: usize = 97;
    pub(crate) const RDX: usize = 98;
    pub(crate) const RBX: usize = 99;
    pub(crate) const RSI: usize = 102;
    pub(crate) const CODE: usize = 114;
    pub(crate) const INFO1: usize = 115;
    pub(crate) const INFO2: usize = 116;
    pub(crate) const SCRATCH: usize = 117;
    pub(crate) const XCR0: usize = 125;
}

/// What the rest of KVM is asked to do, or to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// What RDPMC, VMMCALL and CPUID look at, from each request.
    SetCpl(u8),
    SetXcr0(u64),
    SetXss(u64),
    /// Exit code, direction of an MSR access, registers.
    Emulate(u64, bool, Registers),
    /// Port, size, direction, RAX.
    Port(u16, u64, bool, u64),
    /// Port, size, count, data of OUTS.
    StringIo(u16, u64, u64, Option<Vec<u8>>),
    /// Address, length, data of a write.
    Mmio(u64, u64, Option<Vec<u8>>),
    SetDr7(u64),
    NmiComplete,
    SetJumpTable(u64),
    HoldByPage,
    HoldByMsr,
    Terminate,
    /// The hardware injects an exception.
    Inject(u64),
    InternalError,
    /// What only a guest with SEV-SNP asks for, in the words of the scripted host.
    Snp(Call),
}

/// Drops the registers that KVM's handler of an intercept does not read, which are: of `kvm_emulate_cpuid()`
/// RAX and RCX, of `kvm_emulate_rdmsr()` RCX, of `kvm_emulate_wrmsr()` RAX, RCX and RDX, of
/// `kvm_emulate_rdpmc()` RCX, of `kvm_emulate_hypercall()` all, and none of those for INVD, WBINVD, MONITOR
/// and MWAIT. `ghcb_operand_test` proves it on C itself.
pub(crate) fn keep_what_is_read(asked: &mut [Asked]) {
    for asked in asked {
        let Asked::Emulate(code, is_write, given) = asked else {
            continue;
        };
        let Registers { rax, rcx, rdx, .. } = *given;
        let none = Registers::default();
        *given = match (*code, *is_write) {
            (0x81, _) => *given,
            (0x7c, true) => Registers {
                rax,
                rcx,
                rdx,
                ..none
            },
            (0x72, _) => Registers { rax, rcx, ..none },
            (0x6f | 0x7c, _) => Registers { rcx, ..none },
            _ => none,
        };
    }
}

/// What becomes of an exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Result {
    /// What KVM_RUN makes of it: more than zero to go on, zero for userspace, else an error.
    pub(crate) code: i32,
    /// The same when userspace has provided certificates, or has not; zero if it was not asked.
    pub(crate) later: i32,
    pub(crate) asked: Vec<Asked>,
    pub(crate) msr: u64,
    /// The page when the guest runs again; none if nobody answered.
    pub(crate) page: Option<Vec<u64>>,
    /// Scratch areas elsewhere.
    pub(crate) memory: Vec<u8>,
}

pub(crate) const EINVAL: i32 = -22;
pub(crate) const EIO: i32 = -5;
pub(crate) const EFAULT: i32 = -14;
pub(crate) const ENOMEM: i32 = -12;

/// Writes "no action", "issue exception" or "malformed input" into a page.
pub(crate) fn answer(page: &mut [u64], info1: u64, info2: u64) {
    page[word::INFO1] = info1;
    page[word::INFO2] = info2;
}

/// Marks the given words, and no others.
pub(crate) fn mark(page: &mut [u64], words: &[usize]) {
    (page[126], page[127]) = (0, 0);
    for word in words {
        page[126 + word / 64] |= 1 << (word % 64);
    }
}

pub(crate) fn bytes_of(page: &[u64], offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len)
        .map(|at| page[at / 8].to_le_bytes()[at % 8])
        .collect()
}

pub(crate) fn put_bytes(page: &mut [u64], offset: usize, bytes: &[u8]) {
    for (at, byte) in (offset..).zip(bytes) {
        let mut word = page[at / 8].to_le_bytes();
        word[at % 8] = *byte;
        page[at / 8] = u64::from_le_bytes(word);
    }
}

/// What a device says, so many bytes of it.
fn device(len: u64) -> Vec<u8> {
    DEVICE
        .to_le_bytes()
        .into_iter()
        .cycle()
        .take(len as usize)
        .collect()
}

/// The C handler; also, whether the request got past the checks that all events have in common.
pub(crate) fn handle(case: &Case) -> (Result, bool) {
    let host = case.host();
    let mut model = Model {
        case,
        page: (0..512).map(|word| host.page.peek(word * 8)).collect(),
        memory: case.memory(),
        asked: Vec::new(),
        msr: case.msr,
        registers: [0; 4],
        accepted: false,
        later: 0,
    };
    if case.msr & 0xfff != 0 {
        let code = model.msr_protocol();
        let Model {
            asked, msr, memory, ..
        } = model;
        let page = None;
        return (
            Result {
                code,
                later: 0,
                asked,
                msr,
                page,
                memory,
            },
            true,
        );
    }
    if case.msr != GPA {
        // Null, or no memory there.
        let Model {
            asked, msr, memory, ..
        } = model;
        let (code, page) = (1, None);
        return (
            Result {
                code,
                later: 0,
                asked,
                msr,
                page,
                memory,
            },
            false,
        );
    }
    let code = model.page_protocol();
    // C: `sev_es_sync_to_ghcb()`: whatever the exit was about.
    for (word, value) in [word::RAX, word::RBX, word::RCX, word::RDX]
        .into_iter()
        .zip(model.registers)
    {
        model.page[word] = value;
    }
    mark(
        &mut model.page,
        &[
            word::RAX,
            word::RBX,
            word::RCX,
            word::RDX,
            word::INFO1,
            word::INFO2,
        ],
    );
    let Model {
        asked,
        msr,
        memory,
        page,
        accepted,
        later,
        ..
    } = model;
    (
        Result {
            code,
            later,
            asked,
            msr,
            page: Some(page),
            memory,
        },
        accepted,
    )
}

pub(super) struct Model<'a> {
    pub(super) case: &'a Case,
    pub(super) page: Vec<u64>,
    pub(super) memory: Vec<u8>,
    pub(super) asked: Vec<Asked>,
    pub(super) msr: u64,
    /// RAX, RBX, RCX, RDX.
    pub(super) registers: [u64; 4],
    pub(super) accepted: bool,
    pub(super) later: i32,
}

impl Model<'_> {
    fn msr_protocol(&mut self) -> i32 {
        let msr = self.case.msr;
        match msr & 0xfff {
            0x002 => self.msr = (u64::from(self.case.version.0) << 48) | (1 << 32) | (51 << 24) | 1,
            0x004 => {
                let registers = Registers {
                    rax: msr >> 32,
                    ..Registers::default()
                };
                self.asked.push(Asked::Emulate(0x72, false, registers));
                let after = results();
                let value =
                    [after.rax, after.rbx, after.rcx, after.rdx][((msr >> 30) & 3) as usize];
                // Bits 31:12 stay.
                self.msr = ((value & 0xffff_ffff) << 32) | msr & 0xffff_f000 | 5;
            }
            0x006 => {
                self.asked.push(Asked::HoldByMsr);
                self.msr = 7;
                return if self.case.held == AfterExit::RESUME {
                    1
                } else {
                    0
                };
            }
            0x080 => self.msr = (3 << 12) | 0x81,
            0x010 if self.case.snp.is_some() => self.msr = 0xffff_ffff_ffff_f011,
            0x012 if self.case.snp.is_some() => {
                self.asked.push(Asked::Snp(Call::Register(msr & !0xfff)));
                self.msr = msr & !0xfff | 0x13;
            }
            0x014 if self.case.snp.is_some() => return self.page_by_msr(msr),
            0x010 | 0x012 | 0x014 | 0x100 => {
                self.asked.push(Asked::Terminate);
                return 0;
            }
            _ => {}
        }
        1
    }

    /// A field, zero if it is not valid.
    pub(super) fn field(&self, word: usize) -> u64 {
        let value = self.page[word];
        match (self.is_valid(word), word) {
            (false, _) => 0,
            (true, word::CPL) => (value >> 24) & 0xff,
            (true, _) => value,
        }
    }

    pub(super) fn is_valid(&self, word: usize) -> bool {
        (self.case.valid >> word) & 1 == 1
    }

    pub(super) fn are_valid(&self, words: &[usize]) -> bool {
        words.iter().all(|word| self.is_valid(*word))
    }

    /// Done by KVM, or by userspace, which then does the same.
    fn done(&self) -> i32 {
        if self.case.answer == Fulfilment::Userspace {
            0
        } else {
            1
        }
    }

    /// Answers "malformed input".
    pub(super) fn bad_input(&mut self, reason: u64) -> i32 {
        answer(&mut self.page, 2, reason);
        1
    }

    fn page_protocol(&mut self) -> i32 {
        use word::*;
        let given = Registers {
            rax: self.field(RAX),
            rbx: self.field(RBX),
            rcx: self.field(RCX),
            rdx: self.field(RDX),
            rsi: self.field(RSI),
        };
        self.registers = [given.rax, given.rbx, given.rcx, given.rdx];
        self.asked.push(Asked::SetCpl(self.field(CPL) as u8));
        if self.is_valid(XCR0) {
            self.asked.push(Asked::SetXcr0(self.page[XCR0]));
        }
        if self.is_valid(XSS) {
            self.asked.push(Asked::SetXss(self.page[XSS]));
        }
        let (code, info1, info2) = (self.page[CODE], self.page[INFO1], self.page[INFO2]);
        if self.case.snp.as_ref().is_some_and(|snp| !snp.is_registered) {
            return self.bad_input(1);
        }
        if self.page[511] >> 32 != 0 {
            return self.bad_input(2);
        }
        if self.case.snp.is_none() && (0x8000_0010..=0x8000_0013).contains(&code) {
            return self.bad_input(6);
        }
        if !self.has_required_fields(code, info1) {
            return self.bad_input(4);
        }
        self.accepted = true;
        answer(&mut self.page, 0, 0);
        match code {
            0x7b if (info1 >> 4) & 7 == 0 => 1,
            0x7b if info1 & 4 != 0 => self.string_io(info1, info2),
            0x7b => self.port_io(info1, given.rax),
            // No handler; a handler for instructions that do not exist; one that does nothing.
            0x6e => {
                self.asked.push(Asked::InternalError);
                0
            }
            0x87 => {
                self.asked.push(Asked::Inject(0x8000_0306));
                1
            }
            0x27 | 0x37 => 1,
            0x6f | 0x72 | 0x76 | 0x7c | 0x81 | 0x89 | 0x8a | 0x8b => {
                self.emulate(code, info1, given)
            }
            0x8000_0001 | 0x8000_0002 => self.mmio(code == 0x8000_0002, info1, info2),
            0x8000_0003 => {
                self.asked.push(Asked::NmiComplete);
                1
            }
            0x8000_0004 => {
                self.asked.push(Asked::HoldByPage);
                if self.case.held == AfterExit::RESUME {
                    1
                } else {
                    0
                }
            }
            0x8000_0005 => match info1 {
                0 => {
                    self.asked.push(Asked::SetJumpTable(info2));
                    1
                }
                1 => {
                    answer(&mut self.page, 0, self.case.jump_table);
                    1
                }
                _ => self.bad_input(5),
            },
            0x8000_0010 => self.page_state_change(),
            0x8000_0011 | 0x8000_0012 => self.guest_request(code, info1, info2),
            0x8000_0013 => self.create_ap(info1, info2),
            0x8000_fffd => {
                answer(&mut self.page, 0, 3);
                1
            }
            0x8000_fffe => {
                self.asked.push(Asked::Terminate);
                0
            }
            0x8000_ffff => EINVAL,
            _ => self.bad_input(6),
        }
    }

    fn has_required_fields(&self, code: u64, info1: u64) -> bool {
        use word::*;
        let needed: &[usize] = match code {
            0x37 => &[RAX],
            0x6f => &[RCX],
            0x72 if self.page[RAX] == 0xd => &[RAX, RCX, XCR0],
            0x72 => &[RAX, RCX],
            0x7b if info1 & 4 != 0 => &[SCRATCH],
            0x7b if info1 & 1 == 0 => &[RAX],
            0x7c if info1 == 0 => &[RCX],
            0x7c => &[RAX, RCX, RDX],
            0x81 => &[RAX, CPL],
            0x8a => &[RAX, RCX, RDX],
            0x8b => &[RAX, RCX],
            0x8000_0001 | 0x8000_0002 | 0x8000_0010 => &[SCRATCH],
            0x8000_0013 if info1 as u32 != 2 => &[RAX],
            _ => &[],
        };
        self.are_valid(&[CODE, INFO1, INFO2]) && self.are_valid(needed)
    }

    fn emulate(&mut self, code: u64, info1: u64, given: Registers) -> i32 {
        let is_write = code == 0x7c && info1 != 0;
        self.asked.push(Asked::Emulate(code, is_write, given));
        match self.case.answer {
            Fulfilment::Done | Fulfilment::Userspace => {
                let after = results();
                match code {
                    0x72 => self.registers = [after.rax, after.rbx, after.rcx, after.rdx],
                    0x6f => (self.registers[0], self.registers[3]) = (after.rax, after.rdx),
                    0x7c if !is_write => {
                        (self.registers[0], self.registers[3]) = (after.rax, after.rdx)
                    }
                    0x81 => self.registers[0] = after.rax,
                    _ => {}
                }
                self.done()
            }
            Fulfilment::Exception(event) if code == 0x7c => {
                answer(&mut self.page, 1, event.0);
                1
            }
            Fulfilment::Exception(event) => {
                self.asked.push(Asked::Inject(event.0));
                1
            }
            Fulfilment::Error => EINVAL,
        }
    }

    fn port_io(&mut self, info1: u64, rax: u64) -> i32 {
        let (port, size, is_in) = ((info1 >> 16) as u16, (info1 >> 4) & 7, info1 & 1 != 0);
        self.asked.push(Asked::Port(port, size, is_in, rax));
        if is_in {
            let mask = (1 << (size * 8)) - 1;
            let kept = if size < 4 { rax & !mask } else { 0 };
            self.registers[0] = kept | DEVICE & mask;
        }
        self.done()
    }

    fn string_io(&mut self, info1: u64, count: u64) -> i32 {
        let (port, size, is_in) = ((info1 >> 16) as u16, (info1 >> 4) & 7, info1 & 1 != 0);
        if count > i32::MAX as u64 || count * size > i32::MAX as u64 {
            return EINVAL;
        }
        if count == 0 {
            return 1;
        }
        self.transfer(count * size, is_in, |data| {
            Asked::StringIo(port, size, count, data)
        })
    }

    fn mmio(&mut self, is_write: bool, gpa: u64, len: u64) -> i32 {
        if len == 0 {
            return 1;
        }
        if self.case.version.0 >= 2 && len > 8 {
            return self.bad_input(5);
        }
        self.transfer(len, !is_write, |data| Asked::Mmio(gpa, len, data))
    }

    /// C: `setup_vmgexit_scratch()` and what follows it.
    fn transfer(
        &mut self,
        len: u64,
        is_in: bool,
        asked: impl FnOnce(Option<Vec<u8>>) -> Asked,
    ) -> i32 {
        let begin = self.field(word::SCRATCH);
        let end = begin.wrapping_add(len);
        if begin == 0 || end < begin {
            return self.bad_input(3);
        }
        let in_page = begin & !0xfff == GPA;
        if in_page && (begin < GPA + 0x800 || end > GPA + 0xff0) {
            return self.bad_input(3);
        }
        if !in_page && (self.case.version.0 >= 2 || len > 0x1_0000) {
            return self.bad_input(3);
        }
        let memory_end = MEMORY + self.memory.len() as u64;
        if !in_page && !self.case.can_allocate {
            return ENOMEM;
        }
        if !in_page && (begin < MEMORY || end > memory_end) {
            return EFAULT;
        }
        let (offset, start) = (
            (begin & 0xfff) as usize,
            begin.wrapping_sub(MEMORY) as usize,
        );
        let data = if in_page {
            bytes_of(&self.page, offset, len as usize)
        } else {
            self.memory[start..start + len as usize].to_vec()
        };
        self.asked.push(asked((!is_in).then_some(data)));
        if is_in {
            let said = device(len);
            if in_page {
                put_bytes(&mut self.page, offset, &said);
            } else {
                self.memory[start..start + len as usize].copy_from_slice(&said);
            }
        }
        self.done()
    }
}
