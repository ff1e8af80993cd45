/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Serial line, firmware, guests; and the tests one after the other.
 */
#include <stdarg.h>
#include "snp.h"

uint8_t vmcb[4096] __attribute__((aligned(4096)));
uint8_t vmsa[4096] __attribute__((aligned(4096)));
uint8_t hsave[4096] __attribute__((aligned(4096)));
uint64_t nested_pages[512] __attribute__((aligned(4096)));
uint64_t nested_pd[512] __attribute__((aligned(4096)));
uint64_t regs[16];

static uint64_t nested_pml4[512] __attribute__((aligned(4096)));
static uint64_t nested_pdpt[512] __attribute__((aligned(4096)));
/* Of the MSRs, number 0 alone is intercepted; of the ports, each is */
static uint8_t msrpm[8192] __attribute__((aligned(4096))) = { 3 };
static uint8_t iopm[12288] __attribute__((aligned(4096)));
static enum type type;
static uint32_t handle;                 /* the guest's, with the firmware */

extern char __executable_start[], _end[];
extern void guest_entry(void);
extern void enter(void *vmcb, uint64_t *regs);

static void outb(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
    uint32_t value;

    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void outl(uint16_t port, uint32_t value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static void pci_select(int device, int offset)
{
    outl(0xcf8, 1u << 31 | device << 11 | offset);
}

/* ---- the serial line ---- */

static void put(char c)
{
    outb(0x3f8, c);
}

static void put_number(uint64_t value, unsigned base)
{
    if (value >= base) {
        put_number(value / base, base);
    }
    put("0123456789abcdef"[value % base]);
}

void print(const char *p, ...)
{
    va_list args;

    va_start(args, p);
    for (; *p; p++) {
        if (*p != '%') {
            put(*p);
            continue;
        }
        switch (*++p) {
        case 's':
            for (const char *s = va_arg(args, const char *); *s; s++) {
                put(*s);
            }
            break;
        case 'd':
            put_number(va_arg(args, unsigned), 10);
            break;
        default:                        /* %#lx */
            p += 2;
            put('0');
            put('x');
            put_number(va_arg(args, uint64_t), 16);
            break;
        }
    }
    va_end(args);
}

/* ---- the host's exceptions ---- */

uint64_t host_cr2;

static void host_trap(struct frame *f)
{
    asm volatile("mov %%cr2, %0" : "=r"(host_cr2));
    if (f->rip != watch_rip || !watch_next) {
        print("Bail out! Exception %d at %#lx, address %#lx\n", (unsigned)f->vector, f->rip, host_cr2);
        outb(0xf4, 1);
    }
    f->rip = watch_next;
}

/* What the compiler calls on its own */
void *memset(void *to, int value, size_t n)
{
    asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return to;
}

/* ---- the firmware ---- */

uint32_t firmware(uint32_t command, void *buffer)
{
    static volatile uint8_t *bar;
    int device;

    for (device = 0; !bar && device < 32; device++) {
        pci_select(device, 0);
        if (inl(0xcfc) == 0x14ca1022) {
            pci_select(device, 4);
            outl(0xcfc, 6);             /* memory, bus master */
            pci_select(device, 0x18);
            bar = (uint8_t *)(uint64_t)(inl(0xcfc) & ~15u);
        }
    }
    if (!bar) {
        return 0xffff;
    }
    field32(bar, 0x109e0) = (uintptr_t)buffer;
    field32(bar, 0x109e4) = 0;
    field32(bar, 0x10980) = command << 16;
    return field32(bar, 0x10980) & 0xffff;
}

static void must(uint32_t command, void *buffer)
{
    uint32_t status = firmware(command, buffer);

    if (status) {
        print("Bail out! Firmware command %#lx: %#lx\n", (uint64_t)command,
              (uint64_t)status);
        outb(0xf4, 1);
    }
}

void guest_forget(void)
{
    if (handle) {
        must(0x22, &handle);            /* DEACTIVATE */
        must(0x20, &handle);            /* DECOMMISSION */
        asm volatile("wbinvd");
        must(0x0a, NULL);               /* DF_FLUSH */
        handle = 0;
    }
}

void guest_launch(void)
{
    static bool initialized;
    uint32_t init[5] = { 1, 0, 0x3000000, 0, 0x100000 };
    uint32_t start[9] = { 0, type == SEV_ES ? 4 : 0 };

    if (type == SNP) {
        snp_launch();
        return;
    }
    if (!initialized) {
        must(0x01, init);               /* INIT */
        initialized = true;
    }
    guest_forget();
    must(0x30, start);                  /* LAUNCH_START */
    handle = start[0];

    uint32_t asid[2] = { handle, field32(vmcb, ASID) };
    uint32_t image[5] = { handle, 0, GUEST_MEM, 0, 0x400000 };
    /* An address may have the C-bit */
    uint32_t pages[5] = { handle, 0, GUEST_MEM + SECRET_PAGE, processor.c_bit >> 32, 0x10000 };
    uint32_t state[5] = { handle, 0, (uintptr_t)vmsa, 0, 4096 };

    must(0x21, asid);                   /* ACTIVATE */
    must(0x31, image);                  /* LAUNCH_UPDATE_DATA */
    must(0x31, pages);
    if (type == SEV_ES) {
        must(0x32, state);              /* LAUNCH_UPDATE_VMSA */
    }
    must(0x35, &handle);                /* LAUNCH_FINISH */
}

/* ---- guests ---- */

static void segment(uint8_t *area, int offset, uint16_t selector, uint16_t attr)
{
    field64(area, offset) = selector | attr << 16 | 0xffffffffull << 32;
    field64(area, offset + 8) = 0;
}

static void save_area(uint8_t *area, void (*fn)(void))
{
    int offset;

    for (offset = 0; offset < 0x60; offset += 0x10) {
        segment(area, offset, 0x10, 0xc93);
    }
    segment(area, 0x10, 8, 0xa9b);      /* CS */
    segment(area, 0x90, 0, 0x8b);       /* TR */
    field64(area, 0x0d0) = 0x1d00;      /* EFER: SVME, NXE, LMA, LME */
    field64(area, 0x148) = 0x668;       /* CR4 */
    field64(area, SA_CR3) = TABLES | (type == PLAIN ? 0 : processor.c_bit);
    field64(area, 0x158) = 0x80050033;  /* CR0 */
    field64(area, 0x160) = 0x400;       /* DR7 */
    field64(area, 0x168) = 0xffff0ff0;  /* DR6 */
    field64(area, 0x170) = 2;           /* RFLAGS */
    field64(area, SA_RIP) = (uintptr_t)guest_entry;
    field64(area, 0x268) = 0x0007040600070406;  /* PAT */
}

void vmsa_fill(uint8_t *page, void (*fn)(void))
{
    save_area(page, fn);
    field64(page, 0x338) = (uintptr_t)fn;       /* RDI */
    field64(page, 0x3b0) = type == SNP;         /* SEV_FEATURES */
    field64(page, 0x3e8) = 1;                   /* XCR0 */
    field32(page, 0x408) = 0x1f80;              /* MXCSR */
    field64(page, 0x410) = 0x37f;               /* FCW */
}

void guest_new(enum type t, void (*fn)(void))
{
    const uint32_t first_asid[] = { processor.asids + 8, processor.min_sev_asid, 1, 2 };
    uint64_t a;

    snp_forget();
    type = t;
    memset(vmcb, 0, sizeof(vmcb));
    memset(vmsa, 0, sizeof(vmsa));
    memset(regs, 0, sizeof(regs));
    memset((void *)GUEST_MEM, 0, MEM_SIZE);
    memcpy((void *)(GUEST_MEM + (uintptr_t)__executable_start),
           __executable_start, _end - __executable_start);
    of_guest(trap_handler) = NULL;
    guest_tables((uint8_t *)GUEST_MEM, t == PLAIN ? 0 : processor.c_bit);

    nested_pml4[0] = (uintptr_t)nested_pdpt | 7;
    nested_pdpt[0] = (uintptr_t)nested_pd | 7;
    for (a = 0; a < MEM_SIZE; a += 2 << 20) {
        nested_pd[a >> 21] = (GUEST_MEM + a) | 0x87;
    }
    for (a = 0; a < 2 << 20; a += 4096) {
        nested_pages[a >> 12] = (GUEST_MEM + SECRET_PAGE + a) | 7;
    }
    nested_pd[SECRET_PAGE >> 21] = (uintptr_t)nested_pages | 7;

    field32(vmcb, INTERCEPT_3) = FIRST_3;
    field32(vmcb, INTERCEPT_4) = FIRST_4;
    field64(vmcb, 0x040) = (uintptr_t)iopm;
    field64(vmcb, MSRPM) = (uintptr_t)msrpm;
    field32(vmcb, ASID) = first_asid[t];
    field32(vmcb, TLB_CTL) = 1;
    field64(vmcb, NESTED_CTL) = NESTED_NP | (t == PLAIN ? 0 : NESTED_SEV) |
                                (t >= SEV_ES ? NESTED_ES : 0);
    field64(vmcb, NESTED_CR3) = (uintptr_t)nested_pml4;
    if (t >= SEV_ES) {
        vmsa_fill(vmsa, fn);
        field64(vmcb, VMSA_PA) = (uintptr_t)vmsa;
    } else {
        save_area(vmcb + SAVE, fn);
        regs[7] = (uintptr_t)fn;
    }
}

uint64_t guest_run(void)
{
    if (type < SEV_ES) {
        asm volatile("vmload" : : "a"(vmcb) : "memory");
        enter(vmcb, regs);
        asm volatile("vmsave" : : "a"(vmcb) : "memory");
        asm volatile("vmload" : : "a"(hsave) : "memory");
    } else {
        enter(vmcb, regs);
    }
    /* HLT leaves an SEV-ES guest's RIP behind it, and another's at it */
    if (field64(vmcb, EXIT_CODE) == SVM_EXIT_HLT && type < SEV_ES) {
        field64(vmcb, SAVE + SA_RIP) = field64(vmcb, NEXT_RIP);
    }
    return field64(vmcb, EXIT_CODE);
}

bool guest_refused(void)
{
    static uint8_t before[4096];
    uint64_t code;

    memcpy(before, vmcb, sizeof(before));
    code = guest_run();
    /* QEMU writes the save area here too, with what is the host's by halves */
    memcpy(vmcb, before, sizeof(before));
    return EXPECT("exit code", code, (uint64_t)SVM_EXIT_ERR) &&
           EXPECT("done", told->done, 0);
}

bool guest_ends(void)
{
    uint64_t code = SVM_EXIT_HLT;

    while (code == SVM_EXIT_HLT && !told->done && !told->failed) {
        code = guest_run();
    }
    if (told->failed) {
        print("# guest: line %d, values %#lx %#lx %#lx %#lx\n",
              (unsigned)told->failed, told->value[0], told->value[1],
              told->value[14], told->value[15]);
    }
    return EXPECT("exit code", code, SVM_EXIT_HLT) && told->done &&
           !told->failed;
}

static bool no_snp(void)
{
    return !snp_there();
}

static bool debug_swap(void)
{
    return processor.debug_swap;
}

static bool no_debug_swap(void)
{
    return !processor.debug_swap;
}

static const char *command_line = "";

uint64_t asked(const char *option, uint64_t otherwise)
{
    const char *line, *a, *b;
    uint64_t value = 0;

    for (line = command_line; *line; line++) {
        for (a = line, b = option; *b && *a == *b; a++, b++) {
        }
        if (*b) {
            continue;
        }
        if (*a == 'o') {
            return a[1] == 'n';
        }
        for (; *a >= '0' && *a <= '9'; a++) {
            value = value * 10 + *a - '0';
        }
        return value;
    }
    return otherwise;
}

/* @start: what the loader tells, struct hvm_start_info of Xen's PVH */
void bare_main(uint8_t *start)
{
    /* Tests, and which processors have what they are about: all, if none is named */
    static const struct { const struct bare_test *tests; bool (*here)(void); } groups[] = {
        { processor_tests }, { insn_tests }, { vmrun_tests }, { state_tests },
        { debug_swap_tests, debug_swap }, { no_debug_swap_tests, no_debug_swap },
        { event_tests }, { npf_tests }, { lbr_tests }, { fault_tests }, { msr_tests }, { xsave_tests },
        { no_snp_tests, no_snp },
        /* The first of these turns SEV-SNP on, for good */
        { rmp_tests, snp_there }, { snp_firmware_tests, snp_there }, { snp_guest_tests, snp_there },
        { snp_fault_tests, snp_there }, { vmpl_tests, snp_there }, { snp_vmrun_tests, snp_there },
    };
    bool here[sizeof(groups) / sizeof(groups[0])];
    const struct bare_test *t;
    unsigned i, n = 0, passed = 0;

    memset(iopm, 0xff, sizeof(iopm));
    outb(0x21, 0xff);                   /* no interrupts from the PICs */
    outb(0xa1, 0xff);
    asm volatile("wrmsr" : : "c"(0xc0010117), "a"(hsave), "d"(0));
    asm volatile("vmsave" : : "a"(hsave) : "memory");
    field64(hsave, SAVE + 0x3e8) = 7;   /* XCR0 */
    trap_handler = host_trap;
    load_traps();
    snp_map();
    read_processor();
    if (field64(start, 24)) {
        command_line = (const char *)field64(start, 24);
    }

    for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        here[i] = !groups[i].here || groups[i].here();
        for (t = groups[i].tests; here[i] && t->name; t++) {
            n++;
        }
    }
    print("KTAP version 1\n1..%d\n", n);
    n = 0;
    for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        for (t = groups[i].tests; here[i] && t->name; t++) {
            bool ok = t->run();

            passed += ok;
            print("%sok %d %s\n", ok ? "" : "not ", ++n, t->name);
        }
    }
    print("behaviours=%d passed=%d\n", n, passed);
    outb(0xf4, passed == n ? 0x10 : 0x11);
}
