// SPDX-License-Identifier: GPL-2.0
//! One VMGEXIT, and what it brought.

use crate::exchange::exit::Exit;
use crate::exchange::page_image::PageImage;
use crate::exchange::request::{PageFields, Request};
use ghcb_rs::ghcb_abi::page::Field;
use mailbox::step;
use std::fmt;

/// One VMGEXIT to be taken.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(super) msr: u64,
    pub(super) flags: u64,
    pub(super) page: Option<PageImage>,
    /// Whether SW_SCRATCH counts from the page.
    pub(super) scratch_inside: bool,
    /// Address of a page that the guest copies over the GHCB first.
    pub(super) template: u64,
    /// VMPL of a VMSA that is to be made.
    pub(super) vmpl: u64,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flags & step::RING3 != 0 {
            f.write_str("in ring 3: ")?;
        }
        let Some(page) = &self.page else {
            return write!(f, "GHCB MSR {:#x}", self.msr);
        };
        let [code, scratch, rax, rcx] =
            [Field::SwExitCode, Field::SwScratch, Field::Rax, Field::Rcx]
                .map(|field| page.word(field.offset()));
        let from = if self.scratch_inside { "page + " } else { "" };
        let reply = PageFields::of(page);
        write!(
            f,
            "exit code {code:#x}, infos {:#x} {:#x}, scratch {from}{scratch:#x}, RAX {rax:#x}, RCX {rcx:#x}, {:?}",
            reply.info1, reply.info2, reply.valid
        )
    }
}

impl Attempt {
    /// A request through a page of its own.
    pub fn page(request: &Request) -> Self {
        Self {
            scratch_inside: request.is_scratch_inside(),
            ..Self::image(request.image())
        }
    }

    /// Any contents of a page of its own.
    pub fn image(image: PageImage) -> Self {
        Self {
            msr: 0,
            flags: 0,
            page: Some(image),
            scratch_inside: false,
            template: 0,
            vmpl: 0,
        }
    }

    /// A value of the GHCB MSR.
    pub fn msr(msr: u64) -> Self {
        Self {
            msr,
            flags: 0,
            page: None,
            scratch_inside: false,
            template: 0,
            vmpl: 0,
        }
    }

    /// The value for the GHCB MSR, if the attempt has no page of its own.
    pub fn msr_value(&self) -> Option<u64> {
        self.page.is_none().then_some(self.msr)
    }

    /// The contents of the attempt's own page, if it has one.
    pub fn own_page(&self) -> Option<&PageImage> {
        self.page.as_ref()
    }

    /// A request at `gpa`, which the guest copies there from `template` itself.
    pub fn copied(gpa: u64, template: u64) -> Self {
        Self {
            template,
            ..Self::msr(gpa)
        }
    }

    /// No VMGEXIT: make the page at [`mailbox::map::VMSA`] that of `vcpu`, to run at `vmpl`. The result of the last
    /// instruction is in the first info.
    pub fn make_vmsa(vcpu: u64, vmpl: u64) -> Self {
        Self {
            flags: step::MAKE_VMSA,
            vmpl,
            ..Self::msr(vcpu)
        }
    }

    /// Use the GHCB without registering it.
    pub fn unregistered(mut self) -> Self {
        self.flags |= step::UNREGISTERED;
        self
    }

    /// Execute VMGEXIT in ring 3.
    pub fn in_ring3(mut self) -> Self {
        self.flags |= step::RING3;
        self
    }

    /// Leave the GHCB MSR as it is.
    pub fn keep_msr(mut self) -> Self {
        self.flags |= step::KEEP_MSR;
        self
    }
}

/// What a VMGEXIT brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the guest went on behind it.
    pub went_on: bool,
    /// The GHCB MSR afterwards.
    pub msr: u64,
    /// Vector and error code of an exception that it brought.
    pub exception: Option<(u8, u32)>,
    /// Exits to userspace on the way.
    pub exits: Vec<Exit>,
    /// The page before and after, where the attempt had one.
    pub pages: Option<Pages>,
    /// Both infos of the reply as the guest found them at once, where the request is in a page.
    pub infos: (u64, u64),
}

/// A page before and after a VMGEXIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    pub before: PageImage,
    pub after: PageImage,
}

impl Outcome {
    /// The reply in the page; all zeros where the attempt had none.
    pub fn reply(&self) -> PageFields {
        match &self.pages {
            Some(pages) => PageFields::of(&pages.after),
            None => PageFields::of(&PageImage::default()),
        }
    }
}
