/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP: the table, the firmware, and a guest's launch.
 */
#include "snp.h"

#define PF              14

extern uint64_t pml4[];

static bool on;                         /* SNP_INIT_EX is done */
static bool launched;                   /* there is a guest's context */

bool snp_there(void)
{
    uint32_t a = 0x8000001f, b, c = 0, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return a & 1u << 4;
}

void snp_map(void)
{
    static uint64_t pd[512] __attribute__((aligned(4096)));
    static uint64_t pages[4 * 512] __attribute__((aligned(4096)));
    uint64_t *pdpt = pml4 + 512, i;

    for (i = 4; i < 7; i++) {
        pdpt[i] = i << 30 | 0x87;
    }
    pdpt[7] = (uintptr_t)pd | 7;
    for (i = 0; i < 4; i++) {
        pd[i] = (uintptr_t)(pages + i * 512) | 7;
    }
    for (i = 0; i < 4 * 512; i++) {
        pages[i] = (TEST + i * PAGE) | 7;
    }
}

/* ---- the table ---- */

uint32_t rmpupdate(uint64_t pa, uint64_t gpa, uint32_t bits, uint32_t asid)
{
    struct { uint64_t gpa; uint32_t bits, asid; } entry = { gpa, bits, asid };
    uint32_t status;

    asm volatile(".byte 0xf2, 0x0f, 0x01, 0xfe" : "=a"(status) : "a"(pa), "c"(&entry) : "memory", "cc");
    return status;
}

uint32_t psmash(uint64_t pa)
{
    uint32_t status;

    asm volatile(".byte 0xf3, 0x0f, 0x01, 0xff" : "=a"(status) : "a"(pa) : "memory", "cc");
    return status;
}

static volatile uint64_t *entry_of(uint64_t pa)
{
    return (uint64_t *)(rdmsr(MSR_RMP_BASE) + 0x4000 + pa / PAGE * 16);
}

uint64_t rmp(uint64_t pa)
{
    return *entry_of(pa);
}

/* ---- the host's accesses ---- */

static uint64_t host_access(void *va, bool write)
{
    bool faulted;

    if (write) {
        WATCH("movb $0x5a, (%0)", : : "r"(va) : "r11", "memory");
    } else {
        WATCH("movb (%0), %%r11b", : : "r"(va) : "r11", "memory");
    }
    faulted = traps[PF];
    traps[PF] = 0;
    return faulted ? trap_error : 0;
}

uint64_t host_writes(void *va)
{
    return host_access(va, true);
}

uint64_t host_reads(void *va)
{
    return host_access(va, false);
}

/* ---- the firmware ---- */

uint32_t snp_command(uint32_t command, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    uint64_t buffer[16] = { a, b, c, d };

    return firmware(command, buffer);
}

static void must(const char *what, uint32_t status)
{
    if (status) {
        print("Bail out! %s: %#lx\n", what, (uint64_t)status);
        asm volatile("outb %0, %1" : : "a"((uint8_t)1), "Nd"((uint16_t)0xf4));
    }
}

uint32_t snp_init(uint32_t flags, uint64_t list)
{
    uint64_t buffer[8] = { flags, list };
    uint32_t status = firmware(CMD_INIT_EX, buffer);

    on |= !status;
    return status;
}

void snp_pages(void)
{
    must("a page for the firmware", rmpupdate(OUTPUT, 0, FIRMWARE_PAGE, 0));
    must("a page for the context", rmpupdate(GCTX, 0, FIRMWARE_PAGE, 0));
}

/* ---- guests ---- */

void snp_start(void)
{
    uint64_t start[6] = { GCTX, POLICY };

    must("GCTX_CREATE", snp_command(CMD_GCTX_CREATE, GCTX, 0, 0, 0));
    launched = true;
    must("LAUNCH_START", firmware(CMD_LAUNCH_START, start));
    must("ACTIVATE", snp_command(CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0));
}

uint32_t snp_update(uint64_t pa, int type, bool large, uint32_t perms)
{
    return snp_command(CMD_LAUNCH_UPDATE, GCTX, large | type << 1, pa, (uint64_t)perms << 8);
}

uint32_t snp_finish(void)
{
    uint64_t finish[8] = { GCTX };

    return firmware(CMD_LAUNCH_FINISH, finish);
}

void snp_begin(uint32_t perms)
{
    uint64_t gpa;

    snp_start();
    for (gpa = 0; gpa < 2 * LARGE; gpa += LARGE) {
        must("RMPUPDATE", rmpupdate(GUEST_MEM + gpa, gpa, ASSIGNED | SIZE_2M | IMMUTABLE, SNP_ASID));
        must("LAUNCH_UPDATE", snp_update(GUEST_MEM + gpa, TYPE_NORMAL, true, perms));
    }
}

void snp_add(uint64_t gpa, uint32_t perms)
{
    must("RMPUPDATE", rmpupdate(GUEST_MEM + gpa, gpa, ASSIGNED | IMMUTABLE, SNP_ASID));
    must("LAUNCH_UPDATE", snp_update(GUEST_MEM + gpa, TYPE_NORMAL, false, perms));
}

void snp_end(void)
{
    memcpy(small(VMSA_PAGE), vmsa, PAGE);
    must("RMPUPDATE", rmpupdate(VMSA_PAGE, VMSA_GPA, ASSIGNED | IMMUTABLE, SNP_ASID));
    must("LAUNCH_UPDATE", snp_update(VMSA_PAGE, TYPE_VMSA, false, 0));
    must("LAUNCH_FINISH", snp_finish());
    field64(vmcb, VMSA_PA) = VMSA_PAGE;
}

void snp_launch(void)
{
    snp_begin(0);
    snp_end();
}

void snp_give(uint64_t gpa, uint32_t bits)
{
    must("RMPUPDATE", rmpupdate(GUEST_MEM + gpa, gpa, ASSIGNED | bits, SNP_ASID));
}

void snp_take(uint64_t from, uint64_t to)
{
    uint64_t pa, large;

    for (pa = from; pa < to; pa += PAGE) {
        large = rmp(pa) & RMP_2M ? 1 : 0;
        if (!(rmp(pa) & RMP_ASSIGNED)) {
            continue;
        }
        if (rmp(pa) & RMP_IMMUTABLE) {
            must("PAGE_RECLAIM", snp_command(CMD_PAGE_RECLAIM, pa | large, 0, 0, 0));
        }
        must("RMPUPDATE", rmpupdate(pa, 0, large ? SIZE_2M : 0, 0));
    }
}

bool snp_decommission(void)
{
    launched = false;
    return EXPECT("DECOMMISSION", snp_command(CMD_DECOMMISSION, GCTX, 0, 0, 0), 0) &&
           EXPECT("DF_FLUSH", firmware(CMD_DF_FLUSH, NULL), 0);
}

void snp_forget(void)
{
    if (launched) {
        snp_decommission();
    }
    if (on) {
        snp_take(GUEST_MEM, GUEST_MEM + MEM_SIZE);
        snp_take(VMSA_PAGE, SNP_PAGES + LARGE);
    }
}

void snp_split(uint64_t gpa)
{
    static uint64_t pages[512] __attribute__((aligned(4096)));
    uint64_t i;

    for (i = 0; i < 512; i++) {
        pages[i] = (GUEST_MEM + gpa + i * PAGE) | 7;
    }
    nested_pd[gpa >> 21] = (uintptr_t)pages | 7;
}

bool snp_faults(uint64_t info, uint64_t gpa)
{
    return EXPECT("exit code", guest_run(), SVM_EXIT_NPF) &&
           EXPECT("EXITINFO1", field64(vmcb, EXIT_INFO_1), info) &&
           EXPECT("EXITINFO2", field64(vmcb, EXIT_INFO_2), gpa);
}
