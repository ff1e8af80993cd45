/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest of eight CPUs, on as many CPUs as the host has.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>
#include "guest.h"
#include "tests.h"

#define CPUS            8
#define ROUNDS          500
#define STACKS          0x900000ull     /* private, 64 KiB each */
#define PAGE_OF(cpu)    ((volatile uint64_t *)(SECRET_PAGE + 0x10000 * (cpu)))
#define COUNT           ((volatile uint64_t *)(SECRET_PAGE + 0x100000))
#define GHCB_OF(cpu)    (GHCB + 0x1000 * (cpu))

/* In shared memory, by CPU */
struct report {
    uint64_t done, failed, value;
};
#define REPORTS         0x800           /* behind the mailbox */
#define report_of(page, cpu) \
    ((volatile struct report *)((uintptr_t)(page) + REPORTS) + (cpu))

#define EXPECT_HERE(cond, what) do {                                      \
        if (!(cond) && !r->failed) {                                      \
            r->failed = __LINE__;                                         \
            r->value = (what);                                            \
        }                                                                 \
    } while (0)

static GUEST uint64_t vmgexit(uint64_t msr)
{
    wrmsr(MSR_GHCB, msr);
    asm volatile("rep; vmmcall" : : : "memory");
    return rdmsr(MSR_GHCB);
}

static GUEST void meet(volatile uint64_t *arrived)
{
    asm volatile("lock incq %0" : "+m"(*arrived));
    while (*arrived < CPUS) {
        asm volatile("pause");
    }
}

/* CPUID 1 by a GHCB of its own: EBX tells which CPU this is */
static GUEST uint64_t cpuid_by_ghcb(uint64_t cpu)
{
    volatile uint8_t *g = (void *)GHCB_OF(cpu);
    int i;

    for (i = 0x1f8; i < 0x400; i++) {
        g[i] = 0;
    }
    *(volatile uint64_t *)(g + 0x1f8) = 1;                  /* RAX */
    *(volatile uint64_t *)(g + 0x390) = 0x72;
    g[0x3f0 + 7] = 1 << 7;                                  /* valid: RAX */
    g[0x3f0 + 12] = 1 << 1;                                 /* RCX */
    g[0x3f0 + 14] = 7 << 2;                                 /* code, infos */
    *(volatile uint16_t *)(g + 0xffa) = 1;
    vmgexit(GHCB_OF(cpu));
    return *(volatile uint64_t *)(g + 0x318);               /* RBX */
}

static GUEST void work(uint64_t cpu)
{
    volatile struct report *r = report_of(SHARED, cpu);
    volatile uint64_t *mine = PAGE_OF(cpu), *next = PAGE_OF((cpu + 1) % CPUS);
    uint64_t round, i, v;

    meet(&COUNT[0]);
    for (round = 1; round <= ROUNDS; round++) {
        for (i = 0; i < 512; i++) {
            mine[i] = cpu << 56 | round << 16 | i;
        }
        v = vmgexit(1ull << 32 | 1ull << 30 | 4);           /* CPUID 1, EBX */
        EXPECT_HERE((v & 0xfff) == 5 && v >> 56 == cpu, v);
        v = cpuid_by_ghcb(cpu);
        EXPECT_HERE((v >> 24 & 0xff) == cpu, v);
        for (i = 0; i < 512; i++) {
            EXPECT_HERE(mine[i] == (cpu << 56 | round << 16 | i), mine[i]);
            v = next[i];
            EXPECT_HERE(!v || (v >> 56 == (cpu + 1) % CPUS && (v & 0xffff) == i), v);
        }
        asm volatile("lock incq %0" : "+m"(COUNT[1]));
        if (round == ROUNDS / 2) {
            pause_guest();                                  /* to another CPU */
        }
    }
    meet(&COUNT[2]);
    EXPECT_HERE(COUNT[1] == CPUS * ROUNDS, COUNT[1]);
    r->done = 1;
    for (;;) {
        pause_guest();
    }
}

static GUEST void g_first(void)
{
    work(0);
}

static struct vm *cpus[CPUS];
static int reason[CPUS];

static void on_cpu(int n)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(n % sysconf(_SC_NPROCESSORS_ONLN), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void *run(void *arg)
{
    int n = (struct vm **)arg - cpus;

    on_cpu(n);
    reason[n] = vm_run(cpus[n]);
    if (reason[n] == KVM_EXIT_HLT) {
        on_cpu(n + 1);
        reason[n] = vm_run(cpus[n]);
    }
    return NULL;
}

/* Each at work in private memory, with VMGEXITs, beside and upon the others */
static bool eight(void)
{
    pthread_t threads[CPUS];
    bool ok = true;
    int i;

    cpus[0] = vm_new(SEV_ES, g_first);
    for (i = 1; i < CPUS; i++) {
        cpus[i] = vm_add_cpu(cpus[0], i, work, STACKS + 0x10000 * (i + 1));
    }
    if (vm_start(cpus[0], 4) || vm_update(cpus[0]) || vm_measure(cpus[0]) ||
        vm_finish(cpus[0])) {
        printf("# launch: firmware error %#x\n", cpus[0]->error);
        return false;
    }
    for (i = 0; i < CPUS; i++) {
        pthread_create(&threads[i], NULL, run, &cpus[i]);
    }
    for (i = 0; i < CPUS; i++) {
        volatile struct report *r = report_of(vm_shared(cpus[0]), i);

        pthread_join(threads[i], NULL);
        if (reason[i] != KVM_EXIT_HLT || !r->done || r->failed) {
            printf("# CPU %d: exit %d, line %llu, value %#llx\n", i, reason[i],
                   (unsigned long long)r->failed, (unsigned long long)r->value);
            ok = false;
        }
    }
    return ok;
}

const struct test vcpu_tests[] = {
    { "eight CPUs of an SEV-ES guest at once", eight },
    { NULL, NULL }
};
