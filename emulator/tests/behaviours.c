/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What an SEV-ES host of AMD does, one test a behaviour, as far as a guest and
 * the user space of a stock kernel can see it.
 */
#include <asm/prctl.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "guest.h"
#include "tests.h"

/* Run @fn in a guest that asks nothing of the host but to go on after HLT */
static bool in_guest(enum type type, void (*fn)(void))
{
    struct vm *vm = vm_launch(type, fn);
    volatile struct mailbox *s = vm_shared(vm);
    int i, reason = 0;

    for (i = 0; i < 100 && !s->done && !s->failed; i++) {
        reason = vm_run(vm);
        if (reason != KVM_EXIT_HLT) {
            printf("# exit reason %d\n", reason);
            return false;
        }
    }
    return guest_passed(s);
}

bool guest_passed(volatile struct mailbox *s)
{
    if (s->failed) {
        printf("# guest: line %llu, values %#llx %#llx %#llx %#llx\n",
               (unsigned long long)s->failed,
               (unsigned long long)s->value[0],
               (unsigned long long)s->value[1],
               (unsigned long long)s->value[14],
               (unsigned long long)s->value[15]);
    }
    return s->done && !s->failed;
}

/* ---- what tells a guest what it is ---- */

static GUEST void g_sev_status_es(void)
{
    CHECK((rdmsr(MSR_SEV_STATUS) & 7) == 3);
    CHECK(!traps[29]);
}

static bool sev_status_es(void) { return in_guest(SEV_ES, g_sev_status_es); }

static GUEST void g_sev_status_sev(void)
{
    CHECK((rdmsr(MSR_SEV_STATUS) & 7) == 1);
}

static bool sev_status_sev(void) { return in_guest(SEV, g_sev_status_sev); }

static GUEST void g_ghcb_msr(void)
{
    wrmsr(MSR_GHCB, 0x123456789000ull);
    CHECK(rdmsr(MSR_GHCB) == 0x123456789000ull);
    CHECK(!traps[29]);
}

static bool ghcb_msr(void) { return in_guest(SEV_ES, g_ghcb_msr); }

/* ---- non-automatic exits ---- */

/* #VC with exit code @code, at the instruction itself, nothing done */
#define EXPECT_VC(code, insn, ...) do {                                   \
        uint64_t before = traps[29];                                      \
        WATCH(insn, __VA_ARGS__);                                         \
        shared->value[0] = trap_error;                                    \
        CHECK(traps[29] == before + 1);                                   \
        CHECK(trap_error == (code));                                      \
        CHECK(trap_rip == watch_rip);                                     \
    } while (0)
#define CLOBBERS "r11", "memory", "cc"

static GUEST void g_vc_cpuid(void)
{
    uint32_t a = 0x1234, b = 0, c = 0, d = 0;

    EXPECT_VC(0x72, "cpuid", : "+a"(a), "+b"(b), "+c"(c), "+d"(d) : : CLOBBERS);
    CHECK(a == 0x1234);
}

static bool vc_cpuid(void) { return in_guest(SEV_ES, g_vc_cpuid); }

static GUEST void g_vc_msr(void)
{
    uint32_t a = 0x1234, d = 0;

    EXPECT_VC(0x7c, "rdmsr", : "+a"(a), "+d"(d) : "c"(0x1b) : CLOBBERS);
    CHECK(a == 0x1234);
    EXPECT_VC(0x7c, "wrmsr", : "+a"(a), "+d"(d) : "c"(0x1b) : CLOBBERS);
}

static bool vc_msr(void) { return in_guest(SEV_ES, g_vc_msr); }

static GUEST void g_vc_ioio(void)
{
    uint32_t a = 0x1234;

    EXPECT_VC(0x7b, "outb %%al, $0x80", : "+a"(a) : : CLOBBERS);
    EXPECT_VC(0x7b, "inl %%dx, %%eax", : "+a"(a) : "d"(0x80) : CLOBBERS);
    EXPECT_VC(0x7b, "outsb", : : "d"(0x80), "S"(SHARED) : CLOBBERS);
}

static bool vc_ioio(void) { return in_guest(SEV_ES, g_vc_ioio); }

/* A page that KVM marks with a reserved bit is an NPF that becomes #VC */
static GUEST void g_vc_mmio(void)
{
    uint64_t a = 0x1234;

    /* The first access only tells KVM that nothing is there */
    EXPECT_VC(0x400, "mov (%1), %0", : "+r"(a) : "r"(MMIO) : CLOBBERS);
    EXPECT_VC(0x400, "mov %0, (%1)", : "+r"(a) : "r"(MMIO) : CLOBBERS);
    CHECK(a == 0x1234);
}

static bool vc_mmio(void) { return in_guest(SEV_ES, g_vc_mmio); }

static GUEST void g_vc_dr7(void)
{
    uint64_t a = 0x400;

    EXPECT_VC(0x27, "mov %%dr7, %0", : "+r"(a) : : CLOBBERS);
    EXPECT_VC(0x37, "mov %0, %%dr7", : "+r"(a) : : CLOBBERS);
}

static bool vc_dr7(void) { return in_guest(SEV_ES, g_vc_dr7); }

static GUEST void g_vc_others(void)
{
    uint32_t a = 0, d = 0;

    EXPECT_VC(0x6f, "rdpmc", : "+a"(a), "+d"(d) : "c"(0) : CLOBBERS);
    EXPECT_VC(0x76, "invd", : : : CLOBBERS);
    EXPECT_VC(0x89, "wbinvd", : : : CLOBBERS);
    EXPECT_VC(0x81, "vmmcall", : "+a"(a) : : CLOBBERS);
    EXPECT_VC(0x8a, "monitor", : : "a"(SHARED), "c"(0), "d"(0) : CLOBBERS);
    EXPECT_VC(0x8b, "mwait", : : "a"(0), "c"(0) : CLOBBERS);
    EXPECT_VC(0x80, "vmrun %%rax", : : "a"(0) : CLOBBERS);
}

static bool vc_others(void) { return in_guest(SEV_ES, g_vc_others); }

/* Single step: an intercepted exception is not for the hypervisor either */
static GUEST void g_vc_db(void)
{
    uint64_t before = traps[29];

    asm volatile("lea 1f(%%rip), %%r11; mov %%r11, watch_rip(%%rip);"
                 "mov %%r11, watch_next(%%rip);"
                 "pushf; pushf; orq $0x100, (%%rsp); popf; nop;"
                 "1: popf" : : : CLOBBERS);
    shared->value[0] = trap_error;
    CHECK(traps[29] >= before + 1);
    CHECK(trap_error == 0x41);
}

static GUEST void step_handler(struct frame *f)
{
    f->rflags &= ~0x100ull;
}

static GUEST void g_vc_db_once(void)
{
    trap_handler = step_handler;
    g_vc_db();
    CHECK(traps[29] == 1 && !traps[1]);
    /* After an instruction; which one, QEMU's POPF is not exact about */
    CHECK(trap_rip - watch_rip <= 1);
}

static bool vc_db(void) { return in_guest(SEV_ES, g_vc_db_once); }

/* The same instructions in a plain guest never are #VC */
static GUEST void g_no_vc_in_sev(void)
{
    uint32_t a = 0, b, c = 0, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    CHECK(a >= 1);
    CHECK(rdmsr(0x1b) & 0x800);
    CHECK(!traps[29]);
}

static bool no_vc_in_sev(void) { return in_guest(SEV, g_no_vc_in_sev); }

/* ---- automatic exits ---- */

static GUEST void g_hlt(void)
{
    volatile uint64_t after = 0;

    /* RIP advances: else the guest would halt for ever */
    asm volatile("hlt; incq %0" : "+m"(after));
    CHECK(after == 1);
    CHECK(!traps[29]);
}

static bool hlt(void) { return in_guest(SEV_ES, g_hlt); }

static GUEST uint64_t vmgexit(uint64_t msr)
{
    wrmsr(MSR_GHCB, msr);
    asm volatile("rep; vmmcall" : : : "memory");
    return rdmsr(MSR_GHCB);
}

static GUEST void g_vmgexit(void)
{
    uint64_t info = vmgexit(0x002);

    CHECK((info & 0xfff) == 0x001);
    CHECK(1ull << ((info >> 24) & 0x3f) == processor.c_bit);
    /* Both prefixes, whatever else stands between */
    wrmsr(MSR_GHCB, 0x002);
    asm volatile(".byte 0xf2, 0x66, 0x0f, 0x01, 0xd9" : : : "memory");
    CHECK((rdmsr(MSR_GHCB) & 0xfff) == 0x001);
    CHECK(!traps[29]);
}

static bool vmgexit_prefix(void) { return in_guest(SEV_ES, g_vmgexit); }

static GUEST void g_npf(void)
{
    volatile uint64_t *p = (void *)UNTOUCHED;

    /* Not there yet: KVM puts it there, the guest notices nothing */
    CHECK(p[0] == 0);
    p[512] = 1;
    CHECK(p[512] == 1);
    CHECK(!traps[29] && !traps[14]);
}

static bool npf_not_present(void) { return in_guest(SEV_ES, g_npf); }

static GUEST void vc_on_new_stack(struct frame *f)
{
    CHECK(f->rip == watch_rip);
    f->rip = watch_next;
}

/* #VC is pushed where there is no page yet: it is dropped, and comes again */
static GUEST void g_npf_in_vc(void)
{
    uint32_t a = 0, b, c = 0, d;

    trap_handler = vc_on_new_stack;
    asm volatile("mov %%rsp, %%r10; mov %4, %%rsp;"
                 "lea 771f(%%rip), %%r11; mov %%r11, watch_rip(%%rip);"
                 "lea 772f(%%rip), %%r11; mov %%r11, watch_next(%%rip);"
                 "771: cpuid; 772: mov %%r10, %%rsp"
                 : "+a"(a), "=b"(b), "+c"(c), "=d"(d)
                 : "r"(UNTOUCHED + 0x8000) : "r10", CLOBBERS);
    CHECK(traps[29] == 1);
    CHECK(trap_error == 0x72);
}

static bool npf_in_vc(void) { return in_guest(SEV_ES, g_npf_in_vc); }

/* Writes to CR and EFER leave after they are done: KVM sees the new value */
static GUEST void g_write_traps(void)
{
    uint64_t cr0, cr4, efer = rdmsr(0xc0000080);

    asm volatile("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    asm volatile("mov %0, %%cr0" : : "r"(cr0 | 8));
    asm volatile("mov %0, %%cr4" : : "r"(cr4 | 0x80));
    asm volatile("mov %0, %%cr8" : : "r"(5ull));
    wrmsr(0xc0000080, efer | 1);
    asm volatile("mov %%cr0, %0" : "=r"(shared->value[0]));
    CHECK(shared->value[0] == (cr0 | 8));
    asm volatile("clts; mov %%cr0, %0" : "=r"(shared->value[0]));
    CHECK(shared->value[0] == cr0);
    asm volatile("mov %%cr4, %0" : "=r"(shared->value[0]));
    CHECK(shared->value[0] == (cr4 | 0x80));
    CHECK(rdmsr(0xc0000080) == (efer | 1));
    CHECK(!traps[29]);
}

static bool write_traps(void)
{
    static const struct { const char *reason; int exits; } trap[] = {
        { "write_cr0_trap", 2 }, { "write_cr4_trap", 1 }, { "write_efer_trap", 1 },
    };
    bool ok;
    int i;

    trace_exits(true);
    ok = in_guest(SEV_ES, g_write_traps);
    trace_exits(false);
    for (i = 0; i < 3; i++) {
        if (traced_exits(trap[i].reason) != trap[i].exits) {
            printf("# %d exits for %s\n", traced_exits(trap[i].reason), trap[i].reason);
            ok = false;
        }
    }
    return ok;
}

/* ---- registers over an exit ---- */

extern void regs_roundtrip(const uint64_t *in, uint64_t *out);

static GUEST void g_vmsa_general(void)
{
    uint64_t in[16], out[16];
    int i;

    for (i = 0; i < 15; i++) {
        in[i] = 0x0123456789abcdefull * (2 * i + 1);
    }
    regs_roundtrip(in, out);
    for (i = 0; i < 15; i++) {
        shared->value[0] = i;
        CHECK(in[i] == out[i]);
    }
    CHECK(out[15] & 1);                 /* carry */
}

static bool vmsa_general(void) { return in_guest(SEV_ES, g_vmsa_general); }

static GUEST void g_vmsa_fpu(void)
{
    static __attribute__((aligned(64))) uint8_t in[512], out[512];
    int i;

    asm volatile("fninit; fldpi; fldl2e; fld1; fxsave %0" : "=m"(in));
    for (i = 160; i < 416; i++) {
        in[i] = i * 7 + 1;
    }
    *(uint32_t *)(in + 24) = 0x1fa0;    /* MXCSR */
    *(uint16_t *)in = 0x27f;            /* FCW */
    asm volatile("fxrstor %1; hlt; fxsave %0" : "=m"(out) : "m"(in) : "memory");
    for (i = 0; i < 416; i++) {
        shared->value[0] = i;
        CHECK(i >= 6 && i < 24 ? true : in[i] == out[i]);
    }
}

static bool vmsa_fpu(void) { return in_guest(SEV_ES, g_vmsa_fpu); }

static GUEST void g_vmsa_system(void)
{
    static const uint32_t msrs[] = {
        0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100,
        0xc0000101, 0xc0000102, 0x175, 0x176,
    };
    uint64_t cr2 = 0x7123456789abull, dr6, out, xcr0;
    uint32_t aux, lo, hi;
    int i;

    for (i = 0; i < 9; i++) {
        wrmsr(msrs[i], (i < 7 ? 0x10000000000ull : 0) + 0x1111 * i);
    }
    wrmsr(0x174, 0x10);
    asm volatile("mov %0, %%cr2" : : "r"(cr2));
    asm volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
    pause_guest();
    for (i = 0; i < 9; i++) {
        shared->value[0] = msrs[i];
        /* Of the last two, AMD's processors keep 32 bits */
        CHECK(rdmsr(msrs[i]) == (i < 7 ? 0x10000000000ull : 0) + 0x1111 * i);
    }
    CHECK(rdmsr(0x174) == 0x10);
    asm volatile("mov %%cr2, %0" : "=r"(out));
    CHECK(out == cr2);
    asm volatile("mov %%dr6, %0" : "=r"(dr6));
    CHECK(dr6 == 0xffff0ff0);
    asm volatile("mov %%cr4, %0; or $0x40000, %0; mov %0, %%cr4" : "=r"(out));
    asm volatile("xgetbv" : "=a"(xcr0), "=d"(hi) : "c"(0));
    CHECK(xcr0 == 1);                   /* the guest's, not the host's */
    CHECK(!traps[29]);
}

static bool vmsa_system(void) { return in_guest(SEV_ES, g_vmsa_system); }

static GUEST void g_vmsa_tsc_aux(void)
{
    uint32_t aux, lo, hi;

    wrmsr(0xc0000103, 0x5eed);
    pause_guest();
    asm volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
    CHECK(aux == 0x5eed);
    CHECK(!traps[29]);
}

static uint32_t host_tsc_aux(void)
{
    uint32_t lo, hi, aux;

    asm volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
    return aux;
}

static bool vmsa_tsc_aux(void)
{
    return in_guest(SEV_ES, g_vmsa_tsc_aux) && host_tsc_aux() < 0x5eed;
}

extern uint64_t entry_gpr[16];
extern uint8_t entry_fx[512];

static GUEST void g_host_hidden(void)
{
    int i;

    for (i = 0; i < 13; i++) {
        shared->value[0] = i;
        CHECK(!entry_gpr[i]);
    }
    for (i = 160; i < 416; i++) {
        CHECK(!entry_fx[i]);
    }
}

/* The host enters with patterns everywhere; the guest must see none */
static bool host_hidden(void)
{
    asm volatile("pcmpeqd %%xmm0, %%xmm0; movdqa %%xmm0, %%xmm7;"
                 "movdqa %%xmm0, %%xmm15" : : : "xmm0", "xmm7", "xmm15");
    return in_guest(SEV_ES, g_host_hidden);
}

static GUEST void g_dirty_everything(void)
{
    asm volatile("pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm9, %%xmm9;"
                 "fninit; fldpi; fldpi; mov $-1, %%r12; mov $-1, %%r15"
                 : : : "r12", "r15", "memory");
    wrmsr(0xc0000100, 0x1234000);       /* FS base */
    wrmsr(0xc0000102, 0x1234000);       /* GS base of the host's user space */
    wrmsr(0xc0000082, 0x1234000);       /* LSTAR */
    pause_guest();
}

/* One KVM_RUN with known registers on both sides */
static bool host_restored(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_dirty_everything);
    uint64_t in[4] = { 1, 2, 3, 4 }, out[4] = { 0 }, r12 = 12, r15 = 15;
    register uint64_t p12 asm("r12") = r12;
    register uint64_t p15 asm("r15") = r15;
    uint16_t fcw = 0x27f, fcw_after = 0;
    uint64_t gs = 0;
    long ret;

    syscall(SYS_arch_prctl, ARCH_SET_GS, 0x5eed000);

    asm volatile("movdqu %3, %%xmm0; movdqu %4, %%xmm9; fldcw %6; syscall;"
                 "movdqu %%xmm0, %1; movdqu %%xmm9, %2; fnstcw %5; fninit"
                 : "=a"(ret), "=m"(out[0]), "=m"(out[2])
                 : "m"(in[0]), "m"(in[2]), "m"(fcw_after), "m"(fcw),
                   "0"(16L), "D"((long)vm->cpu), "S"((long)KVM_RUN), "d"(0L),
                   "r"(p12), "r"(p15)
                 : "rcx", "r11", "xmm0", "xmm9", "memory");
    asm volatile("" : "+r"(p12), "+r"(p15));
    return ret == 0 && vm->run->exit_reason == KVM_EXIT_HLT &&
           !memcmp(in, out, sizeof(in)) && p12 == 12 && p15 == 15 &&
           fcw_after == fcw && !syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) &&
           gs == 0x5eed000;
}

const struct test cpu_tests[] = {
    { "SEV_STATUS of an SEV-ES guest, without an exit", sev_status_es },
    { "SEV_STATUS of an SEV guest", sev_status_sev },
    { "GHCB MSR, without an exit", ghcb_msr },
    { "CPUID is #VC", vc_cpuid },
    { "RDMSR and WRMSR are #VC", vc_msr },
    { "port I/O is #VC", vc_ioio },
    { "NPF with a reserved bit is #VC", vc_mmio },
    { "DR7 is #VC", vc_dr7 },
    { "other intercepted instructions are #VC", vc_others },
    { "an intercepted exception is #VC", vc_db },
    { "no #VC in an SEV guest", no_vc_in_sev },
    { "HLT exits and RIP advances", hlt },
    { "VMGEXIT is VMMCALL with any REP prefix", vmgexit_prefix },
    { "NPF of a missing page exits", npf_not_present },
    { "NPF while #VC is delivered", npf_in_vc },
    { "CR and EFER write traps", write_traps },
    { "VMSA: general registers and flags", vmsa_general },
    { "VMSA: x87, SSE and MXCSR", vmsa_fpu },
    { "VMSA: MSRs, CR2, DR6, XCR0", vmsa_system },
    { "VMSA: TSC_AUX", vmsa_tsc_aux },
    { "the guest starts without the host's registers", host_hidden },
    { "the host's registers are back after an exit", host_restored },
    { NULL, NULL }
};
