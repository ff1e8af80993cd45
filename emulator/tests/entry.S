/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's first instructions, and its exceptions.
 */
    .text
    .globl guest_entry
guest_entry:
    /* What a CPU of the host left in a register would be seen here */
    mov     %rdi, entry_fn(%rip)
    mov     %rax, entry_gpr(%rip)
    mov     %rbx, 8+entry_gpr(%rip)
    mov     %rcx, 16+entry_gpr(%rip)
    mov     %rsi, 24+entry_gpr(%rip)
    mov     %rbp, 32+entry_gpr(%rip)
    mov     %r8, 40+entry_gpr(%rip)
    mov     %r9, 48+entry_gpr(%rip)
    mov     %r10, 56+entry_gpr(%rip)
    mov     %r11, 64+entry_gpr(%rip)
    mov     %r12, 72+entry_gpr(%rip)
    mov     %r13, 80+entry_gpr(%rip)
    mov     %r14, 88+entry_gpr(%rip)
    mov     %r15, 96+entry_gpr(%rip)
    lea     stack_top(%rip), %rsp
    fxsave  entry_fx(%rip)
    call    guest_main
1:  hlt
    jmp     1b

    .balign 16
    .globl trap_stubs
trap_stubs:
    .set    i, 0
    .rept   256
    .if (i != 8) && (i < 10 || i > 14) && (i != 17) && (i != 29)
    push    $0
    .endif
    push    $i
    jmp     common
    .balign 16
    .set    i, i + 1
    .endr

common:
    push    %rax
    push    %rcx
    push    %rdx
    push    %rbx
    push    %rbp
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    mov     %rsp, %rdi
    cld
    call    guest_trap
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rbp
    pop     %rbx
    pop     %rdx
    pop     %rcx
    pop     %rax
    add     $16, %rsp
    iretq

/*
 * regs_roundtrip(in, out): all general registers from @in, HLT, then to @out
 */
    .globl regs_roundtrip
regs_roundtrip:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    push    %rsi
    mov     (%rdi), %rax
    mov     8(%rdi), %rcx
    mov     16(%rdi), %rdx
    mov     24(%rdi), %rbx
    mov     32(%rdi), %rbp
    mov     40(%rdi), %rsi
    mov     56(%rdi), %r8
    mov     64(%rdi), %r9
    mov     72(%rdi), %r10
    mov     80(%rdi), %r11
    mov     88(%rdi), %r12
    mov     96(%rdi), %r13
    mov     104(%rdi), %r14
    mov     112(%rdi), %r15
    mov     48(%rdi), %rdi
    stc
    hlt
    pushf
    xchg    %rdi, 8(%rsp)
    mov     %rax, (%rdi)
    mov     %rcx, 8(%rdi)
    mov     %rdx, 16(%rdi)
    mov     %rbx, 24(%rdi)
    mov     %rbp, 32(%rdi)
    mov     %rsi, 40(%rdi)
    mov     %r8, 56(%rdi)
    mov     %r9, 64(%rdi)
    mov     %r10, 72(%rdi)
    mov     %r11, 80(%rdi)
    mov     %r12, 88(%rdi)
    mov     %r13, 96(%rdi)
    mov     %r14, 104(%rdi)
    mov     %r15, 112(%rdi)
    mov     8(%rsp), %rax
    mov     %rax, 48(%rdi)
    pop     %rax
    mov     %rax, 120(%rdi)
    pop     %rax
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

    .section .note.GNU-stack, "", @progbits
    .bss
    .balign 64
    .globl entry_fn, entry_gpr, entry_fx
entry_fn:   .skip 64
entry_gpr:  .skip 128
entry_fx:   .skip 512
    .balign 4096
    .skip   16384
stack_top:
    .skip   64
