/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Events that the hypervisor injects, and when the guest takes them.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include "guest.h"
#include "tests.h"

#define VECTOR 0x51

static void on_cpu(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static GUEST void count_only(struct frame *f)
{
}

static GUEST uint64_t ghcb_exit(uint64_t code)
{
    volatile uint8_t *g = (void *)GHCB;
    int i;

    for (i = 0; i < 4096; i++) {
        g[i] = 0;
    }
    *(volatile uint64_t *)(g + 0x390) = code;
    *(volatile uint64_t *)(g + 0x3f0 + 8) = 7ull << 50;     /* code, infos */
    *(volatile uint16_t *)(g + 0xffa) = 1;
    wrmsr(MSR_GHCB, GHCB);
    asm volatile("rep; vmmcall" : : : "memory");
    return *(volatile uint64_t *)(g + 0x398);
}

static int interrupt(struct vm *vm)
{
    struct kvm_interrupt irq = { .irq = VECTOR };

    return ioctl(vm->cpu, KVM_INTERRUPT, &irq);
}

/* Interrupts off; then on, for one instruction that is their shadow */
static GUEST void g_irq_flag(void)
{
    trap_handler = count_only;
    shared->value[0] = 1;
    pause_guest();                      /* the host asks for a window: none */
    CHECK(!traps[VECTOR]);
    shared->value[0] = 2;
    asm volatile("sti; nop; nop; cli" : : : "memory");
    CHECK(traps[VECTOR] == 1);
}

static bool irq_flag(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_irq_flag);
    volatile struct mailbox *s = vm_shared(vm);

    if (vm_run(vm) != KVM_EXIT_HLT || s->value[0] != 1 || vm->run->if_flag ||
        vm->run->ready_for_interrupt_injection) {
        return false;
    }
    vm->run->request_interrupt_window = 1;
    if (vm_run(vm) != KVM_EXIT_IRQ_WINDOW_OPEN || s->value[0] != 2 ||
        !vm->run->if_flag) {
        printf("# exit %d\n", vm->run->exit_reason);
        return false;
    }
    vm->run->request_interrupt_window = 0;
    return !interrupt(vm) && vm_run(vm) == KVM_EXIT_HLT && guest_passed(s);
}

/* NMI: once, and the next not before NMI complete */
static GUEST void g_nmi(void)
{
    trap_handler = count_only;
    pause_guest();
    CHECK(traps[2] == 1);
    pause_guest();                      /* the host sends the second one */
    CHECK(traps[2] == 1);
    ghcb_exit(0x80000003);
    CHECK(traps[2] == 2);
}

static bool nmi(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_nmi);

    if (vm_run(vm) != KVM_EXIT_HLT || ioctl(vm->cpu, KVM_NMI) ||
        vm_run(vm) != KVM_EXIT_HLT || ioctl(vm->cpu, KVM_NMI)) {
        return false;
    }
    return vm_run(vm) == KVM_EXIT_HLT && guest_passed(vm_shared(vm));
}

/*
 * An unaligned atomic stops all CPUs of the emulator, which pull the guest
 * out of its loop at any place: an injected interrupt is delivered once all
 * the same.
 */
static volatile bool stop;

static void *stop_the_world(void *arg)
{
    static char area[128] __attribute__((aligned(64)));

    on_cpu(1);
    while (!stop) {
        asm volatile("lock incq (%0)" : : "r"(area + 61) : "memory");
        /* Let them run again before the next */
        for (int i = 0; i < 20000; i++) {
            asm volatile("");
        }
    }
    return NULL;
}

#define ROUNDS 2000

static GUEST void g_once(void)
{
    uint64_t i;
    int j;

    trap_handler = count_only;
    for (i = 1; i <= ROUNDS; i++) {
        asm volatile("sti; hlt; cli" : : : "memory");
        for (j = 0; j < 3000; j++) {
            asm volatile("nop" : : : "memory");
        }
        shared->value[0] = i;
        shared->value[1] = traps[VECTOR];
        CHECK(traps[VECTOR] == i);
    }
}

static bool once(enum type type)
{
    struct vm *vm = vm_launch(type, g_once);
    volatile struct mailbox *s = vm_shared(vm);
    pthread_t t;
    bool ok;
    int i;

    on_cpu(0);
    pthread_create(&t, NULL, stop_the_world, NULL);
    for (i = 0; i < ROUNDS && vm_run(vm) == KVM_EXIT_HLT; i++) {
        if (interrupt(vm)) {
            break;
        }
    }
    ok = i == ROUNDS && vm_run(vm) == KVM_EXIT_HLT && guest_passed(s);
    stop = true;
    pthread_join(t, NULL);
    return ok;
}

static bool once_plain(void) { return once(PLAIN); }
static bool once_es(void) { return once(SEV_ES); }

/*
 * FLDENV on the other CPU takes nothing from this one: the guest keeps its
 * nested page tables over each VMRUN
 */
static void *restore_fpu(void *arg)
{
    static char area[32];

    on_cpu(1);
    asm volatile("fninit; fnstenv %0" : "=m"(area));
    while (!stop) {
        asm volatile(".rept 64; fldenv %0; .endr" : : "m"(area));
    }
    return NULL;
}

#define ENTRIES 100000

static GUEST void g_nested_paging(void)
{
    uint64_t i;

    wrmsr(MSR_GHCB, 0x002);
    for (i = 0; i < ENTRIES; i++) {
        asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3; rep; vmmcall"
                     : : : "rax", "memory");
        shared->value[0] = i;
    }
}

static bool nested_paging(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_nested_paging);
    pthread_t t;
    bool ok;

    on_cpu(0);
    pthread_create(&t, NULL, restore_fpu, NULL);
    ok = vm_run(vm) == KVM_EXIT_HLT && guest_passed(vm_shared(vm));
    if (!ok) {
        printf("# exit %d after %llu entries\n", vm->run->exit_reason,
               (unsigned long long)vm_shared(vm)->value[0]);
    }
    stop = true;
    pthread_join(t, NULL);
    return ok;
}

/* KVM intercepts MOV from CR0 when it hides the guest's CD bit from hardware */
static GUEST void g_mov_from_cr(void)
{
    uint64_t cr0, cr3;

    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %0, %%cr0" : : "r"(cr0 | 1ull << 30));
    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    shared->value[0] = cr3;
    CHECK((cr3 & ~processor.c_bit) == TABLES);
}

static bool mov_from_cr(void)
{
    struct vm *vm = vm_launch(PLAIN, g_mov_from_cr);

    return vm_run(vm) == KVM_EXIT_HLT && guest_passed(vm_shared(vm));
}

const struct test event_tests[] = {
    { "interrupt flag, shadow and window", irq_flag },
    { "NMI and its completion", nmi },
    { "an injected interrupt comes once, SEV-ES guest", once_es },
    { "an injected interrupt comes once, plain guest", once_plain },
    { "nested paging while another CPU restores its FPU", nested_paging },
    { "MOV from CR3 is not one from CR0", mov_from_cr },
    { NULL, NULL }
};
