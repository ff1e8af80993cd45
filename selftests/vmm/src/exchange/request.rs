// SPDX-License-Identifier: GPL-2.0
//! A request through the GHCB page, right or wrong on purpose, and its reply.

use crate::exchange::page_image::PageImage;
use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::IoInfo;
use ghcb_rs::ghcb_abi::page::{Field, PROTOCOL_VERSION_OFFSET, SHARED_BUFFER_OFFSET};

/// Value of all quad words that a request does not set: a handler that reads one of them shows it.
pub const POISON: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// The three fields that every request has.
pub const EXIT_FIELDS: [Field; 3] = [Field::SwExitCode, Field::SwExitInfo1, Field::SwExitInfo2];

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    fields: Vec<(Field, u64)>,
    without: Vec<Field>,
    buffer: Vec<u8>,
    scratch_inside: bool,
    version: u16,
    usage: u32,
}

impl Request {
    /// The event `code` with its exit information.
    pub fn new(code: ExitCode, info1: u64, info2: u64) -> Self {
        Self {
            fields: vec![
                (Field::SwExitCode, code.0),
                (Field::SwExitInfo1, info1),
                (Field::SwExitInfo2, info2),
            ],
            without: Vec::new(),
            buffer: Vec::new(),
            scratch_inside: false,
            version: 2,
            usage: 0,
        }
    }

    /// Add a field, marked valid.
    pub fn with(mut self, field: Field, value: u64) -> Self {
        self.fields.retain(|(present, _)| *present != field);
        self.fields.push((field, value));
        self
    }

    /// Keep the field's value, but leave its valid bit clear.
    pub fn without(mut self, field: Field) -> Self {
        self.without.push(field);
        self
    }

    /// Name a scratch area at `offset` of the page itself.
    pub fn scratch_inside(mut self, offset: usize) -> Self {
        self.scratch_inside = true;
        self.with(Field::SwScratch, offset as u64)
    }

    /// Name a scratch area at the guest-physical address `gpa`.
    pub fn scratch_outside(mut self, gpa: u64) -> Self {
        self.scratch_inside = false;
        self.with(Field::SwScratch, gpa)
    }

    /// Whether SW_SCRATCH counts from the page.
    pub fn is_scratch_inside(&self) -> bool {
        self.scratch_inside
    }

    /// Fill the shared buffer from its start.
    pub fn buffer(mut self, bytes: &[u8]) -> Self {
        self.buffer = bytes.to_vec();
        self
    }

    /// Ask in another protocol version.
    pub fn version(mut self, version: u16) -> Self {
        self.version = version;
        self
    }

    /// Ask with another usage.
    pub fn usage(mut self, usage: u32) -> Self {
        self.usage = usage;
        self
    }

    /// Value of a field, if the request has it.
    pub fn field(&self, field: Field) -> Option<u64> {
        self.fields
            .iter()
            .find(|(present, _)| *present == field)
            .map(|(_, value)| *value)
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode(self.field(Field::SwExitCode).unwrap_or(0))
    }

    /// The first exit information.
    pub fn info1(&self) -> u64 {
        self.field(Field::SwExitInfo1).unwrap_or(0)
    }

    /// Whether something comes into the shared buffer.
    pub fn receives(&self) -> bool {
        let io = IoInfo(self.info1());
        match self.code() {
            ExitCode::MMIO_READ | ExitCode::PAGE_STATE_CHANGE => true,
            ExitCode::IOIO => io.is_string() && io.is_in(),
            _ => false,
        }
    }

    /// Fields marked valid.
    pub fn valid(&self) -> ValidBitmap {
        self.fields
            .iter()
            .filter(|(field, _)| !self.without.contains(field))
            .fold(ValidBitmap::EMPTY, |valid, (field, _)| valid.with(*field))
    }

    /// The page that holds the request, and poison everywhere else.
    pub fn image(&self) -> PageImage {
        let mut image = PageImage([POISON; 512]);
        for (field, value) in &self.fields {
            if *field == Field::Cpl {
                image.set_byte(field.offset(), *value as u8);
            } else {
                image.set_word(field.offset(), *value);
            }
        }
        let (low, high) = self.valid().to_words();
        image.set_word(Field::ValidBitmapLow.offset(), low);
        image.set_word(Field::ValidBitmapHigh.offset(), high);
        for (offset, byte) in self.buffer.iter().enumerate() {
            image.set_byte(SHARED_BUFFER_OFFSET + offset, *byte);
        }
        image.set_word(
            PROTOCOL_VERSION_OFFSET & !7,
            (u64::from(self.version) << 16) | (u64::from(self.usage) << 32),
        );
        image
    }
}

/// What the fields of a page hold that a reply may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFields {
    /// Fields marked valid.
    pub valid: ValidBitmap,
    /// What the guest shall do, and why.
    pub info1: u64,
    /// Result or reason.
    pub info2: u64,
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
}

impl PageFields {
    /// The fields of `image`.
    pub fn of(image: &PageImage) -> Self {
        let word = |field: Field| image.word(field.offset());
        Self {
            valid: ValidBitmap::from_words(
                word(Field::ValidBitmapLow),
                word(Field::ValidBitmapHigh),
            ),
            info1: word(Field::SwExitInfo1),
            info2: word(Field::SwExitInfo2),
            rax: word(Field::Rax),
            rbx: word(Field::Rbx),
            rcx: word(Field::Rcx),
            rdx: word(Field::Rdx),
        }
    }
}
