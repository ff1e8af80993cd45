/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP guests of a stock KVM: what they are launched with, page state
 * changes, other CPUs, and guests of all kinds at once.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "snp.h"

#define PAGE_A          SECRET_PAGE
#define PAGE_B          (SECRET_PAGE + PAGE)

static GUEST void g_status(void)
{
    CHECK((rdmsr(MSR_SEV_STATUS) & 7) == 7);
    CHECK(!traps[VC]);
}

static bool status(void) { return snp_ends(vm_launch(SNP, g_status)); }

static GUEST uint64_t cr2(void)
{
    uint64_t v;

    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}

/* KVM gives pages as they are touched; what the guest has not validated is #VC */
static GUEST void g_validate(void)
{
    volatile uint64_t *p = (void *)PAGE_A;

    WATCH("mov (%0), %%r11", : : "r"(PAGE_A + 8) : "r11", "memory");
    CHECK(traps[VC] == 1 && trap_error == NOT_VALIDATED && cr2() == PAGE_A + 8);
    CHECK(pvalidate(PAGE_A, 0, 1) == 0);
    CHECK(pvalidate(PAGE_A, 0, 1) == 0x100);
    *p = 7;
    pause_guest();
    CHECK(*p == 7);
    CHECK(pvalidate(PAGE_A, 1, 1) == 6);        /* guest_memfd has small pages */
    CHECK(pvalidate(PAGE_A, 0, 0) == 0);
    CHECK(traps[VC] == 1);
}

static bool validate(void)
{
    struct vm *vm = vm_launch(SNP, g_validate);

    return snp_ends(vm) && *(volatile uint64_t *)(vm->mem + PAGE_A) != 7;
}

/* ---- launch ---- */

static GUEST void g_pages(void)
{
    volatile uint8_t *zero = (void *)PAGE_A, *unmeasured = (void *)PAGE_B;

    CHECK(!zero[0] && !zero[4095]);
    CHECK(unmeasured[0] == 0x66 && unmeasured[4095] == 0x66);
    CHECK(!traps[VC]);
}

static bool pages(void)
{
    struct vm *vm = vm_new(SNP, g_pages);

    memset(vm->mem + PAGE_B, 0x66, PAGE);
    return !snp_start(vm, SNP_POLICY) && !snp_image(vm) &&
           !snp_update(vm, PAGE_A, NULL, PAGE, KVM_SEV_SNP_PAGE_TYPE_ZERO) &&
           !snp_update(vm, PAGE_B, vm->mem + PAGE_B, PAGE, KVM_SEV_SNP_PAGE_TYPE_UNMEASURED) &&
           !snp_finish(vm) && snp_ends(vm);
}

static GUEST void g_secrets(void)
{
    const volatile uint32_t *s = (void *)PAGE_A;
    const volatile uint64_t *key = (void *)(PAGE_A + 0x20);

    CHECK(s[0] == 3 && s[3] == 0);
    CHECK(s[4] == 0x11111111);          /* what the hypervisor says of its workarounds */
    /* Four keys, none like another */
    CHECK(key[0] && key[4] && key[8] && key[12]);
    CHECK(key[0] != key[4] && key[4] != key[8] && key[8] != key[12]);
    shared->value[0] = key[0];
}

static bool secrets(void)
{
    uint64_t keys[2];
    int i;

    for (i = 0; i < 2; i++) {
        struct vm *vm = vm_new(SNP, g_secrets);
        struct kvm_sev_snp_launch_start start = { .policy = SNP_POLICY };

        memset(start.gosvw, 0x11, sizeof(start.gosvw));
        if (vm_sev(vm, KVM_SEV_SNP_LAUNCH_START, &start) || snp_image(vm) ||
            snp_update(vm, PAGE_A, vm->mem + PAGE_A, PAGE, KVM_SEV_SNP_PAGE_TYPE_SECRETS) ||
            snp_finish(vm) || !snp_ends(vm)) {
            return false;
        }
        keys[i] = vm_shared(vm)->value[0];
    }
    return keys[0] != keys[1];
}

static GUEST void g_cpuid_page(void)
{
    CHECK(*(volatile uint32_t *)PAGE_A == 1);
    CHECK(*(volatile uint32_t *)(PAGE_A + 16) == 0x80000008);
}

/* A table of CPUID functions; with more than it has room for, it is refused */
static bool cpuid_page(void)
{
    struct vm *vm = vm_new(SNP, g_cpuid_page);
    uint32_t *table = (uint32_t *)(vm->mem + PAGE_A);

    table[0] = 65;
    if (snp_start(vm, SNP_POLICY) || snp_image(vm) ||
        !snp_update(vm, PAGE_A, table, PAGE, KVM_SEV_SNP_PAGE_TYPE_CPUID) || vm->error != 0x16) {
        printf("# error %#x\n", vm->error);
        return false;
    }
    table[0] = 1;
    table[4] = 0x80000008;
    return !snp_update(vm, PAGE_A, table, PAGE, KVM_SEV_SNP_PAGE_TYPE_CPUID) && !snp_finish(vm) &&
           snp_ends(vm);
}

static bool twice(void)
{
    struct vm *vm = vm_new(SNP, g_status);

    return !snp_start(vm, SNP_POLICY) && !snp_image(vm) &&
           snp_update(vm, TABLES, vm->mem + TABLES, PAGE, KVM_SEV_SNP_PAGE_TYPE_NORMAL) &&
           !snp_finish(vm) && snp_ends(vm);
}

/* An ABI that the firmware is older than */
static bool policy(void)
{
    struct vm *vm = vm_new(SNP, g_status);

    return snp_start(vm, SNP_POLICY | 0xffff) && vm->error == 7 && !snp_start(vm, SNP_POLICY);
}

/* ---- page state changes ---- */

static GUEST void g_psc_msr(void)
{
    volatile uint64_t *p = (void *)PAGE_A, *alias = (void *)ALIAS;

    REGISTER_GHCB();
    CHECK(pvalidate(PAGE_A, 0, 1) == 0);
    *p = 0x1234;
    CHECK(pvalidate(PAGE_A, 0, 0) == 0);
    CHECK(msr_protocol(PSC(PAGE_A, TO_SHARED)) == PSC_DONE);
    *alias = 0x5678;
    pause_guest();
    CHECK(*alias == 0x9abc);
    CHECK(msr_protocol(PSC(PAGE_A, TO_PRIVATE)) == PSC_DONE);
    CHECK(pvalidate(PAGE_A, 0, 1) == 0);
    *p = 0xdef0;
    CHECK(*p == 0xdef0);
}

static bool psc_msr(void)
{
    struct vm *vm = vm_launch(SNP, g_psc_msr);
    volatile uint64_t *p = (uint64_t *)(vm->mem + PAGE_A);

    if (snp_run(vm) != KVM_EXIT_HLT || *p != 0x5678) {
        printf("# the host reads %#llx\n", (unsigned long long)*p);
        return false;
    }
    *p = 0x9abc;
    return snp_ends(vm) && snp_changes == 2 && *p == 0x9abc;
}

/* Entries of the page state change in the GHCB's own buffer */
static GUEST uint64_t psc(int first, int n, int op)
{
    volatile uint64_t *e = (void *)SCRATCH;
    int i;

    e[0] = (uint64_t)(n - 1) << 16;     /* entries 0 to n - 1 */
    for (i = 0; i < n; i++) {
        e[1 + i] = (SECRET_PAGE + (first + i) * PAGE) | (uint64_t)op << 52;
    }
    return ghcb_exit(0x80000010, 0, 0, 0, 0);
}

static GUEST void g_psc_page(void)
{
    volatile uint64_t *e = (void *)SCRATCH;
    int i;

    REGISTER_GHCB();
    CHECK(psc(0, 8, TO_SHARED) == 0);
    CHECK((e[0] & 0xffff) == 8);        /* the entry that comes next */
    for (i = 0; i < 8; i++) {
        ((volatile uint64_t *)ALIAS)[512 * i] = i + 1;
    }
    pause_guest();
    CHECK(psc(0, 8, TO_PRIVATE) == 0);
    for (i = 0; i < 8; i++) {
        CHECK(pvalidate(SECRET_PAGE + i * PAGE, 0, 1) == 0);
        ((volatile uint64_t *)SECRET_PAGE)[512 * i] = 0;
    }
    CHECK(!traps[VC]);
}

static bool psc_page(void)
{
    struct vm *vm = vm_launch(SNP, g_psc_page);
    int i;

    if (snp_run(vm) != KVM_EXIT_HLT) {
        return false;
    }
    for (i = 0; i < 8; i++) {
        if (vm->mem[PAGE_A + i * PAGE] != i + 1) {
            printf("# page %d: %d\n", i, vm->mem[PAGE_A + i * PAGE]);
            return false;
        }
    }
    return snp_ends(vm);
}

static GUEST void g_fault(void)
{
    WATCH("movq $1, (%0)", : : "r"(PAGE_A) : "r11", "memory");
    CHECK(traps[VC] == 1 && trap_error == NOT_VALIDATED);
    shared->value[0] = *(volatile uint64_t *)(ALIAS + PAGE_B - SECRET_PAGE);
}

/* An access that is not as the page is leaves for user space, and tells which way it was */
static bool memory_fault(void)
{
    struct vm *vm = vm_launch(SNP, g_fault);
    struct kvm_run *run = vm->run;

    snp_private(vm, PAGE_A, PAGE, false);
    if (snp_run(vm) != KVM_EXIT_MEMORY_FAULT || run->memory_fault.gpa != PAGE_A ||
        run->memory_fault.flags != KVM_MEMORY_EXIT_FLAG_PRIVATE) {
        printf("# private: %#llx, flags %#llx\n", run->memory_fault.gpa, run->memory_fault.flags);
        return false;
    }
    snp_private(vm, PAGE_A, PAGE, true);
    if (snp_run(vm) != KVM_EXIT_MEMORY_FAULT || run->memory_fault.gpa != PAGE_B || run->memory_fault.flags) {
        printf("# shared: %#llx, flags %#llx\n", run->memory_fault.gpa, run->memory_fault.flags);
        return false;
    }
    snp_private(vm, PAGE_B, PAGE, false);
    return snp_ends(vm);
}

static GUEST void g_hole(void)
{
    volatile uint64_t *p = (void *)PAGE_A;

    CHECK(pvalidate(PAGE_A, 0, 1) == 0);
    *p = 1;
    pause_guest();
    WATCH("mov (%0), %%r11", : : "r"(PAGE_A) : "r11", "memory");
    CHECK(traps[VC] == 1 && trap_error == NOT_VALIDATED);
    CHECK(pvalidate(PAGE_A, 0, 1) == 0);
}

/* The host takes the page away, and another comes in its place: the guest sees that */
static bool hole(void)
{
    struct vm *vm = vm_launch(SNP, g_hole);

    return snp_run(vm) == KVM_EXIT_HLT &&
           !fallocate(vm->private, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE_A, PAGE) &&
           snp_ends(vm);
}

/* ---- another CPU ---- */

static GUEST void segment(volatile uint64_t *p, uint16_t selector, uint16_t attributes)
{
    p[0] = selector | attributes << 16 | 0xffffffffull << 32;
    p[1] = 0;
}

static GUEST void second_cpu(void)
{
    shared->value[5] = 0x5eed;
    for (;;) {
        pause_guest();
    }
}

#define VMSA(offset) (*(volatile uint64_t *)(PAGE_B + (offset)))
#define AP_CREATE       1

static GUEST void g_ap(void)
{
    uint64_t i;

    REGISTER_GHCB();
    CHECK(pvalidate(PAGE_B, 0, 1) == 0);
    for (i = 0; i < PAGE; i += 8) {
        VMSA(i) = 0;
    }
    for (i = 0; i < 0x60; i += 0x10) {
        segment(&VMSA(i), 0x10, 0xc93);
    }
    segment(&VMSA(0x10), 8, 0xa9b);     /* CS */
    segment(&VMSA(0x90), 0, 0x8b);      /* TR */
    VMSA(0x0d0) = 0x1d00;               /* EFER */
    VMSA(0x148) = 0x668;                /* CR4 */
    VMSA(0x150) = TABLES | processor.c_bit;        /* CR3 */
    VMSA(0x158) = 0x80050033;           /* CR0 */
    VMSA(0x160) = 0x400;                /* DR7 */
    VMSA(0x168) = 0xffff0ff0;           /* DR6 */
    VMSA(0x170) = 2;                    /* RFLAGS */
    VMSA(0x178) = (uintptr_t)second_cpu;
    VMSA(0x1d8) = SHARED + 0x8ff8;      /* RSP */
    VMSA(0x268) = 0x0007040600070406;   /* PAT */
    VMSA(0x3b0) = 1;                    /* SEV_FEATURES */
    VMSA(0x3e8) = 1;                    /* XCR0 */
    VMSA(0x408) = 0x1f80;               /* MXCSR */
    VMSA(0x410) = 0x37f;                /* FCW */
    CHECK(rmpadjust(PAGE_B, 1 | 1 << 16) == 0);
    CHECK(ghcb_exit(0x80000013, 1ull << 32 | AP_CREATE, PAGE_B, 1, 0) == 0);
}

/* A CPU that runs from a VMSA which the guest itself has made */
static bool ap(void)
{
    struct vm *vm = vm_new(SNP, g_ap), *second;

    second = vm_add_cpu(vm, 1, (void (*)(uint64_t))second_cpu, SHARED + 0x8000);
    snp_launch(vm);
    return snp_ends(vm) && !vm_shared(vm)->value[5] && vm_run(second) == KVM_EXIT_HLT &&
           vm_shared(vm)->value[5] == 0x5eed;
}

/* ---- beside others ---- */

static GUEST void g_count(void)
{
    int i;

    for (i = 0; i < 100; i++) {
        shared->value[0]++;
        pause_guest();
    }
}

static bool together(void)
{
    static const enum type types[] = { PLAIN, SEV, SEV_ES, SNP, SNP, SEV_ES };
    struct vm *vm[6];
    int i, j;

    for (i = 0; i < 6; i++) {
        vm[i] = vm_launch(types[i], g_count);
    }
    for (j = 0; j < 50; j++) {
        for (i = 0; i < 6; i++) {
            if (vm_run(vm[i]) != KVM_EXIT_HLT || vm_shared(vm[i])->value[0] != j + 1) {
                printf("# guest %d, round %d\n", i, j);
                return false;
            }
        }
    }
    for (i = 0; i < 6; i++) {
        if (!snp_ends(vm[i])) {
            return false;
        }
    }
    return true;
}

/* ---- the platform ---- */

static bool platform_status(void)
{
    struct sev_user_data_snp_status s = { 0 }, t = { 0 };
    uint32_t error;
    struct vm *vm;

    if (platform(SNP_PLATFORM_STATUS, &s, &error) || s.state != 1 || !s.is_rmp_initialized ||
        s.api_major != 1 || !s.current_tcb_version) {
        printf("# state %d, error %#x\n", s.state, error);
        return false;
    }
    vm = vm_new(SNP, g_status);
    return !snp_start(vm, SNP_POLICY) && !platform(SNP_PLATFORM_STATUS, &t, &error) &&
           t.guest_count == s.guest_count + 1;
}

static bool commit(void)
{
    uint32_t error;

    return !platform(SNP_COMMIT, NULL, &error);
}

/* No VLEK was ever made for this chip */
static bool vlek(void)
{
    struct sev_user_data_snp_wrapped_vlek_hashstick blob = { { 1 } };
    struct sev_user_data_snp_vlek_load load = {
        .len = sizeof(load), .vlek_wrapped_address = (uintptr_t)&blob,
    };
    struct sev_user_data_snp_status s = { 0 };
    uint32_t error;

    return platform(SNP_VLEK_LOAD, &load, &error) && error &&
           !platform(SNP_PLATFORM_STATUS, &s, &error) && !s.vlek_en;
}

/* SNP_SHUTDOWN_EX and SNP_INIT_EX: a guest runs before and after */
static bool again(void)
{
    struct vm *vm = vm_launch(SNP, g_status);

    if (!snp_ends(vm)) {
        return false;
    }
    fflush(stdout);
    /* Only this process holds the guest and the devices */
    vm_free(vm);
    return sev_close() && !system("modprobe -r kvm_amd ccp && modprobe ccp && modprobe kvm_amd") &&
           snp_host() && status();
}

const struct test snp_tests[] = {
    { "SNP: SEV_STATUS, without an exit", status },
    { "SNP: PVALIDATE of pages as KVM gives them", validate },
    { "SNP: launch of zero and unmeasured pages", pages },
    { "SNP: the secrets page, and its four keys", secrets },
    { "SNP: the CPUID page", cpuid_page },
    { "SNP: a page is launched once", twice },
    { "SNP: a policy for a firmware that is to come", policy },
    { "SNP: page state change by MSR", psc_msr },
    { "SNP: page state change of eight pages", psc_page },
    { "SNP: an access that is not as the page is tells which it was", memory_fault },
    { "SNP: a page that was replaced is not validated", hole },
    { "SNP: a CPU starts from a VMSA of the guest's", ap },
    { "SNP, SEV-ES, SEV and plain guests at once", together },
    { "SNP_PLATFORM_STATUS by ioctl", platform_status },
    { "SNP_COMMIT by ioctl", commit, INVASIVE },
    { "SNP_VLEK_LOAD of what nobody wrapped", vlek, INVASIVE },
    { "SNP_SHUTDOWN_EX and SNP_INIT_EX: a guest before and one after", again, INVASIVE },
    { NULL, NULL }
};
