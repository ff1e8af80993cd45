/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * nRIP and decode assists of the instructions that can be intercepted.
 */
#include "bare.h"

/*
 * @insn leaves the guest with @code and @info in EXITINFO1, RIP at it and nRIP
 * behind it; the host lets the guest go on behind it
 */
#define EXIT(code, info, insn, ...) do {                                  \
        shared->value[0] = (code);                                        \
        shared->value[1] = (info);                                        \
        shared->value[2]++;                                               \
        WATCH(insn, __VA_ARGS__);                                         \
    } while (0)
#define CLOBBERS "r11", "memory", "cc"

static bool exits_as_told(void (*fn)(void))
{
    uint64_t exits = 0, code;

    guest_new(PLAIN, fn);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
        return false;
    }
    field32(vmcb, INTERCEPT_CR) = ~0u;
    field32(vmcb, INTERCEPT_DR) = ~0u;
    field32(vmcb, INTERCEPT_3) = ~0u & ~(1u << 5);      /* of CR0, not some */
    field32(vmcb, INTERCEPT_4) = 0xffff & ~(1u << 12);
    for (;;) {
        code = guest_run();
        if (told->done && code == SVM_EXIT_HLT) {
            return EXPECT("number of exits", exits, told->value[2]) &&
                   !told->failed;
        }
        exits++;
        if (!EXPECT("exit code", code, told->value[0]) ||
            !EXPECT("EXITINFO1", field64(vmcb, EXIT_INFO_1), told->value[1]) ||
            !EXPECT("nRIP", field64(vmcb, NEXT_RIP), of_guest(watch_next))) {
            print("# RIP %#lx\n", field64(vmcb, SAVE + SA_RIP));
            return false;
        }
        if (code != SVM_EXIT_HLT && !EXPECT("RIP", field64(vmcb, SAVE + SA_RIP),
                                            of_guest(watch_rip))) {
            return false;
        }
        field64(vmcb, SAVE + SA_RIP) = of_guest(watch_next);
    }
}

static GUEST void g_invlpg(void)
{
    uint64_t a = 0x123456789000, b = 0x1000;
    register uint64_t r12 asm("r12") = a, r13 asm("r13") = a;

    pause_guest();
    EXIT(SVM_EXIT_INVLPG, a, "invlpg (%0)", : : "r"(a) : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, a + 0x12, "invlpg 0x12(%0)", : : "b"(a) : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, a - 0x12345678, "invlpg -0x12345678(%0)",
         : : "d"(a) : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, a + b * 8 - 8, "invlpg -8(%0,%1,8)",
         : : "S"(a), "D"(b) : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, a + b * 2, "invlpg (%0,%1,2)",
         : : "r"(r12), "r"(b) : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, a + b * 4, "invlpg (%1,%0,4)",
         : : "r"(b), "r"(r13) : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, a * 4 + 0x200, "invlpg 0x200(,%0,4)",
         : : "r"(r12) : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, 0xffffffff80001000, "invlpg 0xffffffff80001000",
         : : : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, (uintptr_t)&watch_rip, "invlpg watch_rip(%%rip)",
         : : : CLOBBERS);
    EXIT(SVM_EXIT_INVLPG, (uint32_t)(a + 0x34), "addr32 invlpg 0x34(%k0)",
         : : "a"(a) : CLOBBERS);
    wrmsr(0xc0000100, 0x70000000);      /* FS base */
    EXIT(SVM_EXIT_INVLPG, 0x70000000 + b, "invlpg %%fs:(%0)",
         : : "r"(b) : CLOBBERS);
}

static bool invlpg(void)
{
    return exits_as_told(g_invlpg);
}

static GUEST void g_int(void)
{
    pause_guest();
    EXIT(SVM_EXIT_SWINT, 0x80, "int $0x80", : : : CLOBBERS);
    EXIT(SVM_EXIT_SWINT, 0x0d, "int $0x0d", : : : CLOBBERS);
    EXIT(SVM_EXIT_SWINT, 0xff, ".byte 0x66, 0xcd, 0xff", : : : CLOBBERS);
    EXIT(SVM_EXIT_SWINT, 3, ".byte 0xcd, 3", : : : CLOBBERS);
}

static bool int_n(void)
{
    return exits_as_told(g_int);
}

#define BP              3
#define OF              4
#define INTN            (1u << 21)      /* intercepts */
#define RDTSC           (1u << 14)
#define RDTSCP          (1u << 7)
#define RFLAGS_OF       (1u << 11)
#define SA_CS           0x010
#define SA_RFLAGS       0x170

static GUEST void count_only(struct frame *f)
{
}

/* The watched instruction leaves the guest, which goes on behind it */
static bool leaves(uint64_t code)
{
    bool ok = EXPECT("exit code", guest_run(), code) &&
              EXPECT("EXITINFO1", field64(vmcb, EXIT_INFO_1), code == SVM_EXIT_SWINT ? BP : 0) &&
              EXPECT("RIP", field64(vmcb, SAVE + SA_RIP), of_guest(watch_rip)) &&
              EXPECT("nRIP", field64(vmcb, NEXT_RIP), of_guest(watch_next));

    field64(vmcb, SAVE + SA_RIP) = of_guest(watch_next);
    return ok;
}

static GUEST void g_int3(void)
{
    uint64_t i;

    trap_handler = count_only;
    for (i = 0; i < 2; i++) {
        pause_guest();
        WATCH("int3", : : : CLOBBERS);
        CHECK(traps[BP] == 2 * i);
        WATCH(".byte 0xcd, 3", : : : CLOBBERS);
        CHECK(traps[BP] == 1 + i);
    }
}

/* The intercept of #BP is for INT3 alone, that of INTn for CD 03 alone */
static bool int3(void)
{
    static const uint64_t codes[] = { SVM_EXIT_EXCP_BASE + BP, SVM_EXIT_SWINT };
    int i;

    guest_new(PLAIN, g_int3);
    for (i = 0; i < 2; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        field32(vmcb, INTERCEPT_EXCP) = i ? 0 : 1u << BP;
        field32(vmcb, INTERCEPT_3) = FIRST_3 | (i ? INTN : 0);
        if (!leaves(codes[i])) {
            return false;
        }
    }
    return guest_ends();
}

static GUEST void g_into(void)
{
    trap_handler = count_only;
    WATCH("hlt; .byte 0xce; hlt", : : : CLOBBERS);
    CHECK(traps[OF] == 1);
}

/* INTO is there in 32-bit code only, and traps with OF only; #OF's handler returns to 64-bit code */
static bool into(void)
{
    uint64_t rip;
    int i;

    guest_new(PLAIN, g_into);
    for (i = 0; i < 2; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        rip = of_guest(watch_rip) + 1;
        field64(vmcb, SAVE + SA_RIP) = rip;
        field32(vmcb, SAVE + SA_CS) = 8 | 0xc9bu << 16;
        field32(vmcb, INTERCEPT_EXCP) = 1u << OF;
        field32(vmcb, INTERCEPT_3) = FIRST_3 | INTN;
    }
    field64(vmcb, SAVE + SA_RFLAGS) |= RFLAGS_OF;
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_EXCP_BASE + OF) ||
        !EXPECT("RIP", field64(vmcb, SAVE + SA_RIP), rip) ||
        !EXPECT("nRIP", field64(vmcb, NEXT_RIP), rip + 1)) {
        return false;
    }
    field32(vmcb, INTERCEPT_EXCP) = 0;
    return guest_ends();
}

static GUEST void g_tsc(void)
{
    WATCH("rdtsc", : : : "rax", "rdx", CLOBBERS);
    CHECK(traps[VC] == (shared->value[0] == SVM_EXIT_RDTSC));
    WATCH("rdtscp", : : : "rax", "rcx", "rdx", CLOBBERS);
    CHECK(traps[VC] == 1 && trap_error == shared->value[0]);
}

/* Of an SEV-ES guest: each is #VC by its own intercept alone */
static bool tsc(void)
{
    int i;

    for (i = 0; i < 2; i++) {
        guest_new(SEV_ES, g_tsc);
        guest_launch();
        told->value[0] = i ? SVM_EXIT_RDTSCP : SVM_EXIT_RDTSC;
        field32(vmcb, i ? INTERCEPT_4 : INTERCEPT_3) |= i ? RDTSCP : RDTSC;
        if (!guest_ends()) {
            return false;
        }
    }
    return true;
}

#define GPR(n) ((n) | 1ull << 63)

static GUEST void g_control(void)
{
    pause_guest();
    EXIT(SVM_EXIT_READ_CR0, GPR(0), "mov %%cr0, %%rax", : : : "rax", CLOBBERS);
    EXIT(SVM_EXIT_READ_CR0 + 2, GPR(9), "mov %%cr2, %%r9", : : : "r9", CLOBBERS);
    EXIT(SVM_EXIT_READ_CR3, GPR(3), "mov %%cr3, %%rbx", : : : "rbx", CLOBBERS);
    EXIT(SVM_EXIT_READ_CR4, GPR(15), "mov %%cr4, %%r15", : : : "r15", CLOBBERS);
    EXIT(SVM_EXIT_READ_CR0 + 8, GPR(1), "mov %%cr8, %%rcx", : : : "rcx", CLOBBERS);
    EXIT(SVM_EXIT_WRITE_CR0, GPR(12), "mov %%r12, %%cr0", : : : CLOBBERS);
    EXIT(SVM_EXIT_WRITE_CR3, GPR(2), "mov %%rdx, %%cr3", : : : CLOBBERS);
    EXIT(SVM_EXIT_WRITE_CR4, GPR(6), "mov %%rsi, %%cr4", : : : CLOBBERS);
    EXIT(SVM_EXIT_WRITE_CR0 + 8, GPR(8), "mov %%r8, %%cr8", : : : CLOBBERS);
    EXIT(SVM_EXIT_READ_DR0, 0, "mov %%dr0, %%rax", : : : "rax", CLOBBERS);
    EXIT(SVM_EXIT_READ_DR7, 10, "mov %%dr7, %%r10", : : : "r10", CLOBBERS);
    EXIT(SVM_EXIT_WRITE_DR7, 14, "mov %%r14, %%dr7", : : : CLOBBERS);
    /* Not MOV: nothing is told of a register */
    EXIT(SVM_EXIT_WRITE_CR0, 0, "clts", : : : CLOBBERS);
    EXIT(SVM_EXIT_WRITE_CR0, 0, "lmsw %%ax", : : "a"(0x33) : CLOBBERS);
    EXIT(SVM_EXIT_READ_CR0, 0, "smsw %%ax", : : : "rax", CLOBBERS);
}

static bool control(void)
{
    return exits_as_told(g_control);
}

static GUEST void g_next_rip(void)
{
    uint64_t here = SHARED + 0x1000;
    uint32_t a = 0, d = 0;

    pause_guest();
#define PLAIN_EXIT(code, insn) \
    EXIT(code, 0, insn, : "+a"(a), "+d"(d) : "c"(0), "S"(here), "D"(here) : "rbx", CLOBBERS)
    PLAIN_EXIT(SVM_EXIT_CPUID, "cpuid");
    PLAIN_EXIT(SVM_EXIT_RDTSC, "rdtsc");
    EXIT(SVM_EXIT_RDTSCP, 0, "rdtscp", : : : "rax", "rcx", "rdx", CLOBBERS);
    PLAIN_EXIT(SVM_EXIT_RDPMC, "rdpmc");
    PLAIN_EXIT(SVM_EXIT_INVD, "invd");
    PLAIN_EXIT(SVM_EXIT_WBINVD, "wbinvd");
    PLAIN_EXIT(SVM_EXIT_PAUSE, "pause");
    PLAIN_EXIT(SVM_EXIT_HLT, "hlt");
    PLAIN_EXIT(SVM_EXIT_INVLPGA, "invlpga %%rax, %%ecx");
    PLAIN_EXIT(SVM_EXIT_VMRUN, "vmrun %%rax");
    PLAIN_EXIT(SVM_EXIT_VMMCALL, "vmmcall");
    PLAIN_EXIT(SVM_EXIT_VMMCALL, ".byte 0xf3, 0x0f, 0x01, 0xd9");
    PLAIN_EXIT(SVM_EXIT_VMLOAD, "vmload %%rax");
    PLAIN_EXIT(SVM_EXIT_VMSAVE, "vmsave %%rax");
    PLAIN_EXIT(SVM_EXIT_STGI, "stgi");
    PLAIN_EXIT(SVM_EXIT_CLGI, "clgi");
    PLAIN_EXIT(SVM_EXIT_MONITOR, "monitor");
    PLAIN_EXIT(SVM_EXIT_MWAIT, "mwait");
    PLAIN_EXIT(SVM_EXIT_XSETBV, "xsetbv");
    PLAIN_EXIT(SVM_EXIT_ICEBP, ".byte 0xf1");
    PLAIN_EXIT(SVM_EXIT_IDTR_READ, "sidt 0x10(%%rsi)");
    PLAIN_EXIT(SVM_EXIT_GDTR_READ, "sgdt (%%rsi,%%rcx,8)");
    PLAIN_EXIT(SVM_EXIT_LDTR_READ, "sldt (%%rdi)");
    PLAIN_EXIT(SVM_EXIT_TR_READ, "str 0x1000(%%rdi)");
    PLAIN_EXIT(SVM_EXIT_IDTR_WRITE, "lidt watch_rip(%%rip)");
    PLAIN_EXIT(SVM_EXIT_GDTR_WRITE, "lgdt -8(%%rsp)");
    PLAIN_EXIT(SVM_EXIT_LDTR_WRITE, "lldt %%ax");
    PLAIN_EXIT(SVM_EXIT_TR_WRITE, "ltr %%ax");
    PLAIN_EXIT(SVM_EXIT_MSR, "rdmsr");
    EXIT(SVM_EXIT_MSR, 1, "wrmsr", : : "a"(0), "c"(0), "d"(0) : CLOBBERS);
    /* PUSHF and POPF: the stack is as it was, since neither is done */
    PLAIN_EXIT(SVM_EXIT_PUSHF, "pushfq");
    PLAIN_EXIT(SVM_EXIT_POPF, "data16 popf");
    PLAIN_EXIT(SVM_EXIT_IRET, "iretq");
}

static bool next_rip(void)
{
    return exits_as_told(g_next_rip);
}

/* Port I/O: EXITINFO1 is port, address size, operand size, REP, string, IN */
static GUEST void g_port_io(void)
{
    pause_guest();
    EXIT(SVM_EXIT_IOIO, 0x00800010, "outb %%al, $0x80", : : "a"(0) : CLOBBERS);
    EXIT(SVM_EXIT_IOIO, 0x12340041, "inl %%dx, %%eax", : : "d"(0x1234) : "rax", CLOBBERS);
    EXIT(SVM_EXIT_IOIO, 0x12340020, "outw %%ax, %%dx", : : "a"(0), "d"(0x1234) : CLOBBERS);
}

static bool port_io(void)
{
    return exits_as_told(g_port_io);
}

static GUEST void g_without_vc(void)
{
    uint32_t a = 0, b, c = 0, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    CHECK(a == 0x5eed && !traps[VC]);
}

/* What is #VC to an SEV-ES guest leaves an SEV guest */
static bool without_vc(void)
{
    guest_new(SEV, g_without_vc);
    field32(vmcb, INTERCEPT_3) |= 1u << 18;
    guest_launch();
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_CPUID)) {
        return false;
    }
    field64(vmcb, SAVE + SA_RAX) = 0x5eed;
    field64(vmcb, SAVE + SA_RIP) = field64(vmcb, NEXT_RIP);
    return guest_ends();
}

static GUEST void g_pause(void)
{
    uint64_t i;

    for (i = 0; i < 3; i++) {
        shared->value[0] = i;
        asm volatile("pause" : : : "memory");
    }
    shared->value[0] = i;
    CHECK(!traps[VC]);
}

/* KVM takes the instruction for done, and has no register of the guest's to move on */
static bool pause_of_es(void)
{
    uint64_t i;

    guest_new(SEV_ES, g_pause);
    field32(vmcb, INTERCEPT_3) |= 1u << 23;
    guest_launch();
    for (i = 0; i < 3; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_PAUSE) || !EXPECT("PAUSEs before", told->value[0], i) ||
            !EXPECT("nRIP", field64(vmcb, NEXT_RIP), 0)) {
            return false;
        }
    }
    return guest_ends() && EXPECT("PAUSEs", told->value[0], 3);
}

const struct bare_test insn_tests[] = {
    { "INVLPG tells its address", invlpg },
    { "INTn tells its vector", int_n },
    { "INT3 is #BP, and CD 03 is INTn", int3 },
    { "INTO is #OF", into },
    { "RDTSC and RDTSCP have an intercept each", tsc },
    { "MOV to and from CR and DR tells its register", control },
    { "nRIP of each instruction with an intercept", next_rip },
    { "port I/O tells its port and size", port_io },
    { "an intercept is an exit of an SEV guest, and no #VC", without_vc },
    { "PAUSE of an SEV-ES guest is an exit behind it, and no #VC", pause_of_es },
    { NULL, NULL }
};
