// SPDX-License-Identifier: GPL-2.0
//! Guest requests: the pages that they are about.

use crate::exchange::page_image::{PageImage, PageInMemory};
use crate::exchange::request::{Request, POISON};
use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::guest_request::MessageType;
use ghcb_rs::ghcb_abi::page::Field;
use mailbox::{map, PAGE};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The page with the message.
pub const MESSAGE: u64 = map::SCRATCH;
/// The page for the response.
pub const RESPONSE: u64 = map::SCRATCH + PAGE;
/// The pages for certificates.
pub const DATA: u64 = map::SCRATCH + 2 * PAGE;

/// Put a message of that type in its page, and poison in the others.
pub fn prepare(memory: &GuestMemoryMmap, kind: MessageType) -> Result<()> {
    for gpa in [MESSAGE, RESPONSE, DATA] {
        PageInMemory::new(memory, gpa).write(&PageImage([POISON; 512]));
    }
    memory.write_obj(kind.0, GuestAddress(MESSAGE + MessageType::OFFSET as u64))?;
    Ok(())
}

/// An extended request with room for `pages` pages of certificates at `data`.
pub fn extended(data: u64, pages: u64) -> Request {
    Request::new(ExitCode::EXT_GUEST_REQUEST, MESSAGE, RESPONSE)
        .with(Field::Rax, data)
        .with(Field::Rbx, pages)
}
