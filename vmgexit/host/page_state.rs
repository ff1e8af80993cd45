// SPDX-License-Identifier: GPL-2.0

//! Pages that become private or shared: userspace does it.

use super::memory::Memory;

/// A range of guest memory that changes its state. C: `KVM_HC_MAP_GPA_RANGE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// Guest physical address of the first page.
    pub gpa: u64,
    /// Number of 4 KiB pages.
    pub pages: u64,
    /// Whether they become private; if not, shared.
    pub is_private: bool,
    /// Whether the guest spoke of 2 MiB pages.
    pub is_huge: bool,
}

/// What userspace says of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeAnswer {
    /// It is done.
    Done,
    /// Userspace could not, or would not.
    Failed,
    /// No answer that KVM knows of.
    Invalid,
}

/// A vCPU whose guest's pages change their state.
pub trait PageState: Memory {
    /// Whether userspace does it at all. C: `KVM_CAP_EXIT_HYPERCALL`.
    fn can_change_pages(&self) -> bool;

    /// Memory of `len` bytes that neither the guest nor userspace can reach; zero. `None` if there is none.
    fn allocate(&mut self, len: usize) -> Option<Self::Buffer>;

    /// Prepares the exit to userspace for a range of a list. The list goes on with
    /// [`go_on()`](crate::vmgexit::carry_out::page_state::go_on).
    fn ask_for_range(&mut self, range: &PageRange);

    /// Prepares the exit to userspace for a page that the MSR protocol names. KVM's C code completes it.
    fn ask_for_page(&mut self, range: &PageRange);

    /// What userspace has answered.
    fn range_answer(&self) -> RangeAnswer;
}
