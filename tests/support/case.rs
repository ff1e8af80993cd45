// SPDX-License-Identifier: GPL-2.0

//! Arbitrary exits, made of bytes: what the guest says, what it does meanwhile, what KVM makes of it; and
//! what holds for each of them.

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        page::Field,
        psc::{PageOperation, PscEntry},
        reply::EventInjection,
        version::Version,
    },
    vmgexit::{
        host::Fulfilment,
        host::{CertificateAnswer, FirmwareAnswer, HostFault, RangeAnswer},
        kind::Kind,
        request::registers::Registers,
        AfterExit,
    },
};

use super::{snp::FEATURES, Call, Host, GPA};

/// Where a guest has memory besides its page.
pub const MEMORY: u64 = 0x50_0000;
const MEMORY_SIZE: usize = 0x1_1000;

/// Events of guests without SEV-SNP.
pub const EVENTS: [u64; 22] = [
    0x27,
    0x37,
    0x6e,
    0x6f,
    0x72,
    0x76,
    0x7b,
    0x7b,
    0x7c,
    0x7c,
    0x81,
    0x87,
    0x89,
    0x8a,
    0x8b,
    0x8000_0001,
    0x8000_0002,
    0x8000_0003,
    0x8000_0004,
    0x8000_0005,
    0x8000_fffd,
    0x8000_fffe,
];

/// Codes which are no such event, but near one.
const OTHERS: [u64; 16] = [
    0,
    0x26,
    0x28,
    0x6d,
    0x78,
    0x400,
    0x403,
    0x8000_0000,
    0x8000_0006,
    0x8000_0010,
    0x8000_0013,
    0x8000_0014,
    0x8000_001a,
    0x8000_ffff,
    0x1_0000_0072,
    u64::MAX,
];

const INFO1: [u64; 6] = [0, 1, 2, 0xffff_ffff, 1 << 32, u64::MAX];

const INFO2: [u64; 16] = [
    0,
    1,
    2,
    4,
    7,
    8,
    9,
    0x7ef,
    0x7f0,
    0x7f1,
    0x1_0000,
    0x1_0001,
    0x7fff_ffff,
    0x8000_0000,
    1 << 32,
    u64::MAX,
];

const FIELDS: [Field; 12] = [
    Field::SwExitCode,
    Field::SwExitInfo1,
    Field::SwExitInfo2,
    Field::SwScratch,
    Field::Rax,
    Field::Rbx,
    Field::Rcx,
    Field::Rdx,
    Field::Rsi,
    Field::Cpl,
    Field::Xcr0,
    Field::Xss,
];

/// Takes bytes apart; what is missing is zero.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.byte()) % list.len()]
    }

    /// True in so many of 256 cases.
    fn odds(&mut self, of_256: u8) -> bool {
        self.byte() < of_256
    }
}

/// An exit.
#[derive(Clone, Debug)]
pub struct Case {
    pub msr: u64,
    pub version: Version,
    pub code: u64,
    pub info: [u64; 2],
    pub valid: u128,
    pub version_usage: u64,
    pub registers: Registers,
    pub cpl: u8,
    pub xcr0: u64,
    pub xss: u64,
    pub scratch: u64,
    pub answer: Fulfilment,
    pub can_map: bool,
    pub can_allocate: bool,
    pub held: AfterExit,
    pub jump_table: u64,
    /// Whether the guest has SEV-SNP; see [`Snp`].
    pub snp: Option<Snp>,
    /// Seed of the vCPU that writes to the page meanwhile.
    pub writer: Option<u64>,
    /// When the page is gone.
    pub gone: Option<(u32, u32)>,
}

/// What a guest with SEV-SNP meets.
#[derive(Clone, Debug)]
pub struct Snp {
    /// Whether its page is the registered one.
    pub is_registered: bool,
    pub can_change_pages: bool,
    /// What userspace says of each range; done where there is no more.
    pub range_answers: Vec<RangeAnswer>,
    pub may_ask: bool,
    pub has_certificates: bool,
    pub certificate_answer: CertificateAnswer,
    pub firmware: Result<FirmwareAnswer, HostFault>,
    /// A list of page state changes: header and entries; where the scratch area is, if that is in the shared buffer.
    pub list: Vec<u64>,
}

/// Events of guests with SEV-SNP.
const SNP_EVENTS: [u64; 8] = [
    0x8000_0010,
    0x8000_0010,
    0x8000_0010,
    0x8000_0011,
    0x8000_0012,
    0x8000_0012,
    0x8000_0013,
    0x8000_0017,
];

impl Snp {
    fn from_bytes(b: &mut Bytes<'_>) -> Self {
        Self {
            is_registered: !b.odds(8),
            can_change_pages: !b.odds(16),
            range_answers: (0..b.byte() % 8)
                .map(|_| match b.byte() % 16 {
                    0 => RangeAnswer::Failed,
                    1 => RangeAnswer::Invalid,
                    _ => RangeAnswer::Done,
                })
                .collect(),
            may_ask: !b.odds(16),
            has_certificates: b.odds(128),
            certificate_answer: match b.byte() % 8 {
                0 => CertificateAnswer::TooFewPages(b.word()),
                1 => CertificateAnswer::Busy,
                2 => CertificateAnswer::Failed,
                3 => CertificateAnswer::Invalid,
                _ => CertificateAnswer::Done,
            },
            firmware: match b.byte() % 8 {
                0 => Err(HostFault(-110)),
                1 => Ok(FirmwareAnswer { status: 0x16 }),
                _ => Ok(FirmwareAnswer { status: 0 }),
            },
            list: Self::list(b),
        }
    }

    /// A list, most of which fits together.
    fn list(b: &mut Bytes<'_>) -> Vec<u64> {
        let entries = b.byte() % 12;
        let end = entries.wrapping_sub(b.byte() % 3);
        let header = u64::from(b.byte() % 4) | (u64::from(end) << 16);
        let mut before = PscEntry(0);
        let mut entry = |number, before: PscEntry| {
            let (kind, done) = (b.byte(), b.byte());
            if kind == 0xff {
                return PscEntry(b.word());
            }
            // Where C looks for what may be merged with an entry that is partly done.
            if before.is_huge() && before.cur_page() == 100 && kind < 0x80 {
                return PscEntry::new(before.gfn() + 412, before.operation(), false);
            }
            let gfn = 0x1000 + u64::from(number);
            let is_huge = kind % 4 == 0;
            let gfn = if is_huge { gfn << 9 } else { gfn };
            let operation = PageOperation([1, 2, 2, 3][usize::from(kind >> 2) % 4]);
            let done = [0, 0, 0, 0, 0, 1, 100, 0x200][usize::from(done) % 8];
            PscEntry::new(gfn, operation, is_huge).with_cur_page(done)
        };
        let entries = (0..entries).map(|number| {
            before = entry(number, before);
            before.0
        });
        std::iter::once(header).chain(entries).collect()
    }
}

impl Case {
    /// An exit of a guest with SEV-SNP, or of one without.
    pub fn of_any_guest(bytes: &[u8]) -> Self {
        match bytes.split_first() {
            Some((first, rest)) if first % 2 == 0 => Self::snp_from_bytes(rest),
            _ => Self::from_bytes(bytes),
        }
    }

    /// An exit of a guest with SEV-SNP.
    pub fn snp_from_bytes(bytes: &[u8]) -> Self {
        let (head, tail) = bytes.split_at(bytes.len().min(100));
        let mut case = Self::from_bytes(tail);
        let mut bytes = Bytes(head);
        let b = &mut bytes;
        case.version = Version::V2;
        case.snp = Some(Snp::from_bytes(b));
        if !b.odds(64) {
            case.code = b.one_of(&SNP_EVENTS);
        }
        if !b.odds(64) {
            case.info = match case.code {
                0x8000_0013 => [
                    (u64::from(b.byte() % 6) << 32) | u64::from(b.byte() % 4),
                    // A VMSA where a 2 MiB page begins is another matter.
                    b.word() & b.one_of(&[0x3_ffff_f000, 0x3_ffff_f000, 0x3_ffe0_0000]),
                ],
                0x8000_0017 => [MEMORY * u64::from(b.byte() % 2), 0],
                _ => [MEMORY, MEMORY + 0x1000 * u64::from(b.byte() % 3)],
            };
            case.registers.rax = match case.code {
                0x8000_0013 => FEATURES,
                0x8000_0017 => u64::from(b.byte() % 2),
                _ => MEMORY + 0x3000,
            };
            case.registers.rbx = u64::from(b.byte() % 3);
        }
        case
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut bytes = Bytes(bytes);
        let b = &mut bytes;
        let msr = match b.byte() % 16 {
            0 => b.word(),
            1 | 2 => {
                b.word() & !0xfff
                    | b.one_of(&[2, 4, 6, 0x10, 0x12, 0x14, 0x16, 0x80, 0x100, 1, 0xfff])
            }
            3 => b.one_of(&[0, GPA + 0x1000, u64::MAX << 12]),
            _ => GPA,
        };
        let version = if b.odds(128) {
            Version::V1
        } else {
            Version::V2
        };
        let code = match b.byte() % 16 {
            0 => b.word(),
            1 | 2 => b.one_of(&OTHERS),
            _ => b.one_of(&EVENTS),
        };
        let info1 = match b.byte() % 8 {
            0 => b.word(),
            1 | 2 => b.one_of(&INFO1),
            // Port, size, string and direction.
            _ => {
                (u64::from(b.byte()) << 16)
                    | (u64::from(b.one_of(&[0u8, 1, 2, 4, 4, 2, 1, 3, 5, 7])) << 4)
                    | u64::from(b.byte() & 0xd)
            }
        };
        let info2 = match b.byte() % 8 {
            0 => b.word(),
            1 => u64::from(b.byte()) << 4,
            _ => b.one_of(&INFO2),
        };
        let valid = match b.byte() % 8 {
            0 => (u128::from(b.word()) << 64) | u128::from(b.word()),
            1 => ValidBitmap::from_bits(u128::MAX)
                .without(b.one_of(&FIELDS))
                .bits(),
            _ => u128::MAX,
        };
        let version_usage = if b.odds(240) { 0x0002_0000 } else { b.word() };
        let registers = Registers {
            rax: if b.odds(64) { 0xd } else { b.word() },
            rbx: b.word(),
            rcx: b.word(),
            rdx: b.word(),
            rsi: b.word(),
        };
        let scratch = match b.byte() % 8 {
            0 => b.word(),
            1 | 2 => MEMORY + u64::from(b.byte()) * 0x189,
            3 => 0,
            4 => GPA + u64::from(b.byte()) * 16,
            _ => GPA + 0x800 + u64::from(b.byte()) * 8,
        };
        let answer = match b.byte() % 8 {
            0 => Fulfilment::Exception(EventInjection(b.word())),
            1 => Fulfilment::Error,
            2 | 3 => Fulfilment::Userspace,
            _ => Fulfilment::Done,
        };
        Self {
            msr,
            version,
            code,
            info: [info1, info2],
            valid,
            version_usage,
            registers,
            cpl: b.byte(),
            xcr0: b.word(),
            xss: b.word(),
            scratch,
            answer,
            can_map: !b.odds(16),
            can_allocate: !b.odds(16),
            held: if b.odds(128) {
                AfterExit::RESUME
            } else {
                AfterExit::USERSPACE
            },
            jump_table: b.word(),
            snp: None,
            writer: b.odds(128).then(|| b.word()),
            gone: b.odds(16).then(|| {
                let from = u32::from(b.byte() % 24);
                (from, from + 1 + u32::from(b.byte()))
            }),
        }
    }

    /// Guest memory besides the page; version 1 has a use for it, and SEV-SNP.
    pub fn memory(&self) -> Vec<u8> {
        let size = if self.version == Version::V1 || self.snp.is_some() {
            MEMORY_SIZE
        } else {
            0
        };
        // The type of a message that asks for a report, or of another one.
        let byte = match &self.snp {
            Some(_) if self.jump_table % 4 != 0 => 5,
            Some(_) => 3,
            None => 0x3c,
        };
        vec![byte; size]
    }

    /// The host at the moment of the exit.
    pub fn host(&self) -> Host {
        let mut host = Host::new();
        host.msr = self.msr;
        host.version = self.version;
        host.answer = self.answer;
        host.can_map = self.can_map;
        host.can_allocate = self.can_allocate;
        host.held = self.held;
        host.jump_table = self.jump_table;
        if let Some(snp) = &self.snp {
            host.snp.active = true;
            host.snp.registered = if snp.is_registered {
                self.msr
            } else {
                !self.msr
            };
            host.snp.can_change_pages = snp.can_change_pages;
            host.snp.range_answers = snp.range_answers.clone();
            host.snp.may_ask = snp.may_ask;
            host.snp.has_certificates = snp.has_certificates;
            host.snp.certificate_answer = snp.certificate_answer;
            host.snp.firmware = snp.firmware;
        }
        host.memory = Some((MEMORY, self.memory()));
        let page = &host.page;
        page.put(0xc8, u64::from(self.cpl) << 24);
        for (field, value) in [
            (Field::Rax, self.registers.rax),
            (Field::Rbx, self.registers.rbx),
            (Field::Rcx, self.registers.rcx),
            (Field::Rdx, self.registers.rdx),
            (Field::Rsi, self.registers.rsi),
            (Field::Xcr0, self.xcr0),
            (Field::Xss, self.xss),
            (Field::SwExitCode, self.code),
            (Field::SwExitInfo1, self.info[0]),
            (Field::SwExitInfo2, self.info[1]),
            (Field::SwScratch, self.scratch),
        ] {
            page.put(field.offset(), value);
        }
        page.put(0x3f0, self.valid as u64);
        page.put(0x3f8, (self.valid >> 64) as u64);
        page.put(0xff8, self.version_usage);
        if let Some(snp) = &self.snp {
            let offset = (self.scratch & 0xff8) as usize;
            let words = (offset.max(0x800)..0xff0).step_by(8).zip(&snp.list);
            words.for_each(|(offset, word)| page.put(offset, *word));
        }
        if let Some(seed) = self.writer {
            page.rewrite_by(seed);
        }
        if let Some((from, until)) = self.gone {
            page.vanish(from, until);
        }
        host
    }

    /// Handles and completes the exit, and panics if that broke a promise.
    pub fn check(&self) {
        let mut host = self.host();
        let outcome = host.vmgexit();
        let ending = Ending::of(&host, outcome);
        self.check_looks(&host, ending);
        self.check_counts(&host);
        check_stores(&host, ending);

        let held = host.sev_es.hold;
        host.complete();
        assert!(!host.holds_anything(), "left behind: {:?}", host.sev_es);
        assert_eq!(host.sev_es.hold, None);
        if ending == Ending::Deferred {
            let replied = Ending::Replied;
            let lost = host.counts.last().map(|(kind, _)| *kind) == Some(Kind::UnreachablePage);
            check_stores(&host, if lost { Ending::Unreachable } else { replied });
        }
        if held.is_some() || matches!(ending, Ending::Parked | Ending::Deferred) {
            // A second completion finds nothing.
            let log = host.log.len();
            host.complete();
            assert_eq!(host.log.len(), log);
        }
        if self.msr & 0xfff == 0 {
            assert_eq!(host.msr, self.msr, "a page's address was overwritten");
        } else {
            assert_eq!(
                host.page.accesses(),
                0,
                "a request in the MSR reached the page"
            );
        }
        if self.writer.is_some() && self.gone.is_none() {
            self.check_one_look(&host, outcome);
        }
    }

    /// Nothing is read twice, and without a page nothing is asked of KVM.
    fn check_looks(&self, host: &Host, ending: Ending) {
        assert_eq!(host.page.read_twice(), None);
        // Header, nine operands at most.
        assert!(host.page.words_read() <= 15 + 0x7f0 / 8);
        if ending == Ending::Unreachable && host.page.stores().is_empty() && self.can_map {
            let asked = host.asked();
            let harmless = |call: &Call| {
                matches!(
                    call,
                    Call::Open(_)
                        | Call::Fetch(_)
                        | Call::NmiComplete
                        | Call::SetDr7(_)
                        | Call::SetJumpTable(_)
                ) || self.gone.is_some()
            };
            assert!(asked.iter().all(harmless), "{asked:?}");
        }
    }

    /// Each exit is counted once.
    fn check_counts(&self, host: &Host) {
        assert_eq!(host.counts.len(), 1, "{:?}", host.counts);
    }

    /// What was made of a page that changed all the time is what is made of a still page with what was
    /// seen: the exit depends on one look.
    fn check_one_look(&self, changing: &Host, outcome: AfterExit) {
        let mut still = Case {
            writer: None,
            ..self.clone()
        }
        .host();
        still.page = std::rc::Rc::new(changing.page.as_seen());
        assert_eq!(still.vmgexit(), outcome);
        still.complete();
        let without_read_back = |host: &Host| {
            host.log
                .iter()
                .filter(|call| !matches!(call, Call::TraceExit(..)))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(without_read_back(&still), without_read_back(changing));
        assert_eq!(still.page.stores(), changing.page.stores());
        assert_eq!(still.page.buffer_stores(), changing.page.buffer_stores());
        assert_eq!(still.counts, changing.counts);
    }
}

/// How an exit ends: in exactly one of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A response in the MSR, or a value that was left there.
    Msr,
    /// A reply in the page.
    Replied,
    /// Mapped, for userspace or a SIPI.
    Parked,
    /// Not yet replied to.
    Deferred,
    Unreachable,
}

impl Ending {
    fn of(host: &Host, outcome: AfterExit) -> Self {
        let has = |wanted: fn(&Call) -> bool| host.log.iter().any(wanted);
        let unreachable =
            has(|call| matches!(call, Call::Complain(text) if text.starts_with("UnreachablePage")));
        let opened = host.log.contains(&Call::Open(GPA));
        assert_eq!(
            opened,
            host.log.contains(&Call::Close),
            "a page is not closed"
        );
        let parked = has(|call| matches!(call, Call::Park(..)));
        if has(|call| matches!(call, Call::Defer(..))) {
            assert!(host.sev_es.is_pending() && !unreachable && !parked);
            assert_eq!(outcome, AfterExit::USERSPACE);
            return Self::Deferred;
        }
        let traced = has(|call| matches!(call, Call::TraceExit(..)));
        assert_eq!(parked, host.sev_es.ghcb);
        assert!(
            u32::from(unreachable) + u32::from(traced) + u32::from(parked) <= 1,
            "{:?}",
            host.log
        );
        match (unreachable, traced, parked) {
            (true, ..) => {
                assert!(outcome == AfterExit::RESUME || is_sent(host) || is_the_end(host));
                assert!(!host.holds_anything());
                Self::Unreachable
            }
            (_, true, _) => {
                let is_fault = outcome.to_kvm() < 0;
                let may_leave = is_sent(host) || is_the_end(host) || is_fault;
                assert!(outcome == AfterExit::RESUME || may_leave);
                Self::Replied
            }
            (.., true) => Self::Parked,
            _ => {
                assert!(!opened, "{:?}", host.log);
                assert_ne!(host.msr & 0xfff, 0, "{:?}", host.log);
                Self::Msr
            }
        }
    }
}

/// Whether userspace has data to send, and nothing to return.
fn is_sent(host: &Host) -> bool {
    host.log.iter().any(|call| match call {
        Call::PortIo(access) => !access.direction.is_in(),
        Call::StringIo(transfer, _) => !transfer.direction.is_in(),
        Call::Mmio(access, _) => !access.direction.is_in(),
        _ => false,
    })
}

/// Whether the guest asks for its end.
fn is_the_end(host: &Host) -> bool {
    host.log.iter().any(|call| match call {
        Call::Terminate => true,
        Call::Complain(text) => text.starts_with("UnsupportedEvent"),
        _ => false,
    })
}

/// What taking a request writes: offset and value.
pub const CLEARED: [(usize, u64); 2] = [(0x3f0, 0), (0x3f8, 0)];

/// A reply goes where replies go, and nowhere else.
fn check_stores(host: &Host, ending: Ending) {
    const PLACES: [usize; 8] = [0x1f8, 0x308, 0x310, 0x318, 0x398, 0x3a0, 0x3f0, 0x3f8];
    let stores = host.page.stores();
    if !matches!(ending, Ending::Msr | Ending::Unreachable) {
        assert_eq!(stores[..2], CLEARED, "the marks of a request stay");
    }
    for (offset, _) in &stores {
        assert!(PLACES.contains(offset), "wrote to {offset:#x}");
    }
    match ending {
        Ending::Replied => {
            let stores = &stores[2..];
            // Every word once, and the bitmap marks exactly these.
            let mut marked = (u128::from(stores[stores.len() - 1].1) << 64)
                | u128::from(stores[stores.len() - 2].1);
            for (offset, _) in &stores[..stores.len() - 2] {
                let bit = 1 << (offset / 8);
                assert!(
                    marked & bit != 0,
                    "{offset:#x} written and not marked, or twice"
                );
                marked &= !bit;
            }
            assert_eq!(marked, 0, "marked and not written");
            assert!(stores
                .iter()
                .any(|(offset, info1)| *offset == 0x398 && *info1 <= 2));
        }
        Ending::Parked => {
            assert!(stores.contains(&(0x398, 0)) && stores.contains(&(0x3a0, 0)));
        }
        Ending::Msr => assert!(stores.is_empty()),
        Ending::Deferred => {
            assert!(stores.len() == 2 && host.page.buffer_stores().is_empty());
        }
        Ending::Unreachable => {}
    }
}
