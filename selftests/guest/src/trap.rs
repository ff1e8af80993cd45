// SPDX-License-Identifier: GPL-2.0
//! Exceptions: the IDT, the way into Rust and back, and ring 3.

use crate::cpu::{self, reason, Vcpu};
use crate::vc;
use core::arch::{asm, global_asm};
use core::ptr::addr_of_mut;
use core::sync::atomic::Ordering;
use mailbox::{MAX_VCPUS, TAKEN};

/// #VC: the CPU asks the guest to ask the hypervisor.
pub const VC: u64 = 29;
/// Software interrupt by which ring 3 returns.
const RETURN: usize = 0x80;

/// Registers at an exception, as the entry code pushed them.
#[repr(C)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const KERNEL_CODE: u64 = 0x08;
const USER_DATA: u64 = 0x20 | 3;
const USER_CODE: u64 = 0x18 | 3;
const GATE: u64 = 0x8e << 40;
const GATE_USER: u64 = 0xee << 40;
/// Each gate has a stack of its own: what the compiler keeps below the stack pointer stays untouched.
const IST1: u64 = 1 << 32;
/// The stack of #VC, into whose handler the hypervisor may inject another exception.
const IST2: u64 = 2 << 32;
const GATES: usize = RETURN + 1;
/// Size of each entry of `trap_entries`.
const ENTRY_SIZE: u64 = 16;

type Table = [[u64; 2]; GATES];
static mut IDT: [Table; MAX_VCPUS as usize] = [[[0; 2]; GATES]; MAX_VCPUS as usize];

extern "C" {
    static trap_entries: u8;
    fn ring3_return();
    fn ring3_enter(code: u64, stack: u64, user_code: u64, user_data: u64);
    fn ring3_vmgexit();
}

/// Make and load the IDT of `vcpu`.
pub fn install(vcpu: &Vcpu) {
    let gate = |handler: u64, kind: u64| {
        [
            handler & 0xffff | (KERNEL_CODE << 16) | kind | (((handler >> 16) & 0xffff) << 48),
            handler >> 32,
        ]
    };
    // SAFETY: Each vCPU touches its own table only, and this vCPU takes no exception before it is loaded.
    unsafe {
        let entries = addr_of_mut!(IDT).cast::<Table>().add(vcpu.index as usize);
        let table = &mut *entries;
        let first = core::ptr::addr_of!(trap_entries) as u64;
        for (vector, slot) in (0..32).zip(table.iter_mut()) {
            let stack = if vector == VC { IST2 } else { IST1 };
            *slot = gate(first + vector * ENTRY_SIZE, GATE | stack);
        }
        if let Some(slot) = table.last_mut() {
            *slot = gate(ring3_return as *const () as u64, GATE_USER | IST1);
        }
        let descriptor: [u16; 5] = {
            let base = entries as u64;
            [
                (size_of::<Table>() - 1) as u16,
                base as u16,
                (base >> 16) as u16,
                (base >> 32) as u16,
                (base >> 48) as u16,
            ]
        };
        asm!("lidt [{}]", in(reg) &descriptor, options(readonly, nostack, preserves_flags));
    }
}

/// Execute VMGEXIT in ring 3, with the GHCB MSR as it is.
pub fn vmgexit_in_ring3() {
    // SAFETY: The ring-3 code uses no stack, and comes back through the interrupt gate; one vCPU at a time.
    unsafe { ring3_enter(ring3_vmgexit as *const () as u64, 0, USER_CODE, USER_DATA) };
}

/// Called by the entry code for each exception.
#[no_mangle]
extern "C" fn trap(frame: &mut Frame) {
    let vcpu = Vcpu::current();
    let mail = vcpu.mailbox;
    if frame.vector == VC {
        return vc::handle(&vcpu, frame);
    }
    let before = mail.rip.load(Ordering::Relaxed);
    let first = mail.vector.load(Ordering::Relaxed) == 0;
    mail.rip.store(frame.rip, Ordering::Relaxed);
    mail.error.store(frame.error, Ordering::Relaxed);
    mail.vector.store(frame.vector | TAKEN, Ordering::Relaxed);
    mail.exceptions.fetch_add(1, Ordering::Relaxed);
    // An exception that the hypervisor injects is taken behind VMGEXIT; the code's own fault would repeat.
    if !first && before == frame.rip {
        cpu::terminate(reason::FAULT);
    }
}

global_asm!(
    r#"
.macro trap_entry vector, has_error
    .balign 16
    .if \has_error == 0
    push 0
    .endif
    push \vector
    jmp trap_common
.endm

    .balign 16
    .global trap_entries
trap_entries:
    .set vector, 0
    .rept 32
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    trap_entry vector, 1
    .else
    trap_entry vector, 0
    .endif
    .set vector, vector + 1
    .endr

    .balign 16
trap_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbx, rsp
    sub rsp, 512
    and rsp, -64
    fxsave [rsp]
    mov r12, rsp
    call trap
    fxrstor [r12]
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

    .global ring3_enter
ring3_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [ring3_saved], rsp
    push rcx
    push rsi
    push 2
    push rdx
    push rdi
    iretq

    .global ring3_vmgexit
ring3_vmgexit:
    .byte 0xf3, 0x0f, 0x01, 0xd9
    int 0x80

    .global ring3_return
ring3_return:
    mov rsp, [ring3_saved]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

    .pushsection .bss
    .balign 8
ring3_saved:
    .skip 8
    .popsection
"#
);
