/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From QEMU's loader (PVH: 32 bits, flat) to long mode, and VMRUN.
 */
    .section .note.pvh, "a", @note
    .long   4, 8, 18                    /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .quad   entry32

    .text
    .code32
    .globl  _start
_start:
entry32:
    mov     $pml4, %edi
    lea     0x1007(%edi), %eax
    mov     %eax, (%edi)
    mov     $0x87, %eax                 /* four pages of 1 GiB */
    mov     $4, %ecx
1:  mov     %eax, 0x1000(%edi)
    add     $0x40000000, %eax
    add     $8, %edi
    loop    1b
    mov     $0x40668, %eax              /* DE, PAE, MCE, OSFXSR, OSXMMEXCPT, OSXSAVE */
    mov     %eax, %cr4
    mov     $pml4, %eax
    mov     %eax, %cr3
    mov     $0xc0000080, %ecx
    mov     $0x1900, %eax               /* LME, NXE, SVME */
    xor     %edx, %edx
    wrmsr
    mov     $0x80010033, %eax
    mov     %eax, %cr0
    lgdt    gdtr
    ljmp    $8, $entry64

    .code64
entry64:
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     $host_stack, %esp
    xor     %ecx, %ecx
    mov     $7, %eax                    /* x87, SSE, AVX */
    xor     %edx, %edx
    xsetbv
    mov     %ebx, %edi                  /* what the loader tells */
    call    bare_main
1:  hlt
    jmp     1b

/*
 * enter(vmcb, regs): VMRUN; @regs are RAX to R15 in the processor's order,
 * RAX and RSP unused, before and after
 */
    .globl  enter
enter:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    push    %rsi
    mov     %rdi, %rax
    mov     8(%rsi), %rcx
    mov     16(%rsi), %rdx
    mov     24(%rsi), %rbx
    mov     40(%rsi), %rbp
    mov     56(%rsi), %rdi
    mov     64(%rsi), %r8
    mov     72(%rsi), %r9
    mov     80(%rsi), %r10
    mov     88(%rsi), %r11
    mov     96(%rsi), %r12
    mov     104(%rsi), %r13
    mov     112(%rsi), %r14
    mov     120(%rsi), %r15
    mov     48(%rsi), %rsi
    vmrun
    xchg    %rsi, (%rsp)
    mov     %rcx, 8(%rsi)
    mov     %rdx, 16(%rsi)
    mov     %rbx, 24(%rsi)
    mov     %rbp, 40(%rsi)
    mov     %rdi, 56(%rsi)
    mov     %r8, 64(%rsi)
    mov     %r9, 72(%rsi)
    mov     %r10, 80(%rsi)
    mov     %r11, 88(%rsi)
    mov     %r12, 96(%rsi)
    mov     %r13, 104(%rsi)
    mov     %r14, 112(%rsi)
    mov     %r15, 120(%rsi)
    pop     48(%rsi)
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

/*
 * pvalidate_32: a guest's first instructions, which validate its SECRET_PAGE,
 * tell EAX and CF to the host, and end
 */
    .code32
    .globl  pvalidate_32
pvalidate_32:
    mov     $0xa00000, %eax
    xor     %ecx, %ecx
    mov     $1, %edx
    .byte   0xf2, 0x0f, 0x01, 0xff
    setc    %cl
    movl    %eax, 0xe00010              /* value[0] of the mailbox, and value[1] */
    movzbl  %cl, %ecx
    movl    %ecx, 0xe00018
1:  hlt
    jmp     1b
    .code64

    .section .rodata
    .balign 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:   .word 23
        .long gdt

    .section .note.GNU-stack, "", @progbits
    .bss
    .balign 4096
    .globl  pml4
pml4:   .skip 8192
        .skip 16384
host_stack:
    .skip 64
