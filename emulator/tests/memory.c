/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Private memory is the guest's alone.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "guest.h"
#include "tests.h"

#define MAGIC 0x5eedf00d5eedf00dull
#define private_word    (*(volatile uint64_t *)SECRET_PAGE)
#define alias_word      (*(volatile uint64_t *)ALIAS)
#define shared_word     (*(volatile uint64_t *)(SHARED + 0x1000))

static GUEST void g_private(void)
{
    private_word = MAGIC;
    shared_word = MAGIC;
    pause_guest();
    CHECK(private_word == MAGIC);
    pause_guest();
    shared->value[0] = private_word;    /* whatever the host wrote */
}

static uint64_t *host_word(struct vm *vm, uint64_t gpa)
{
    return (uint64_t *)(vm->mem + gpa);
}

static bool host_reads(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_private);

    return vm_run(vm) == KVM_EXIT_HLT &&
           *host_word(vm, SHARED + 0x1000) == MAGIC &&
           *host_word(vm, SECRET_PAGE) != MAGIC &&
           *host_word(vm, SECRET_PAGE) == *host_word(vm, SECRET_PAGE) &&
           vm_run(vm) == KVM_EXIT_HLT && vm_run(vm) == KVM_EXIT_HLT &&
           vm_shared(vm)->value[0] == MAGIC && guest_passed(vm_shared(vm));
}

static bool host_writes(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_private);

    if (vm_run(vm) != KVM_EXIT_HLT || vm_run(vm) != KVM_EXIT_HLT) {
        return false;
    }
    *host_word(vm, SECRET_PAGE) = 1;
    return vm_run(vm) == KVM_EXIT_HLT && vm_shared(vm)->value[0] != 1 &&
           vm_shared(vm)->value[0] != MAGIC;
}

/* Pages in the guest's form beside pages in the host's, in one transfer */
#define TRANSFER 0x10000

static int disk(void)
{
    static int fd = -1;

    if (fd < 0) {
        fd = open("/dev/vdb", O_RDWR | O_DIRECT);
        if (fd < 0) {
            perror("# /dev/vdb");
        }
    }
    return fd;
}

static GUEST void g_private_pages(void)
{
    uint64_t i;

    for (i = 0; i < TRANSFER; i += 0x2000) {
        (&private_word)[i / 8] = MAGIC;
    }
    g_private();
}

static bool device_reads(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_private_pages);
    uint64_t *copy = aligned_alloc(4096, TRANSFER);

    return vm_run(vm) == KVM_EXIT_HLT &&
           pwrite(disk(), host_word(vm, SECRET_PAGE), TRANSFER, 0) == TRANSFER &&
           pread(disk(), copy, TRANSFER, 0) == TRANSFER &&
           copy[0] != MAGIC && copy[0x2000 / 8] != MAGIC &&
           !memcmp(copy, host_word(vm, SECRET_PAGE), TRANSFER) &&
           vm_run(vm) == KVM_EXIT_HLT && vm_run(vm) == KVM_EXIT_HLT &&
           guest_passed(vm_shared(vm));
}

static bool device_writes(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_private_pages);
    uint64_t *data = aligned_alloc(4096, TRANSFER);

    for (int i = 0; i < TRANSFER / 8; i++) {
        data[i] = i + 1;
    }
    return vm_run(vm) == KVM_EXIT_HLT && vm_run(vm) == KVM_EXIT_HLT &&
           pwrite(disk(), data, TRANSFER, 0) == TRANSFER &&
           pread(disk(), host_word(vm, SECRET_PAGE), TRANSFER, 0) == TRANSFER &&
           vm_run(vm) == KVM_EXIT_HLT && vm_shared(vm)->value[0] != data[0] &&
           vm_shared(vm)->value[0] != MAGIC &&
           !memcmp(data, host_word(vm, SECRET_PAGE), TRANSFER);
}

#define ROUNDS 400000

static GUEST void g_contended(void)
{
    uint64_t i;

    for (i = 0; i < ROUNDS; i++) {
        private_word = MAGIC + i;
        shared_word = i;
        shared->value[0] = private_word;
        CHECK(shared->value[0] == MAGIC + i);
        if (shared->failed) {
            return;
        }
    }
}

static volatile bool reading, stop;
static volatile int seen_clear, seen_shared;

static void *read_private(void *vm)
{
    uint64_t last = 0;

    while (!stop) {
        uint64_t word = *(volatile uint64_t *)host_word(vm, SECRET_PAGE);

        seen_clear += word - MAGIC < ROUNDS;
        seen_shared += last != *host_word(vm, SHARED + 0x1000);
        last = *(volatile uint64_t *)host_word(vm, SHARED + 0x1000);
        reading = true;
    }
    return NULL;
}

/* One CPU of the host reads what the guest is at work in on another */
static bool contended(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_contended);
    pthread_t t;
    bool ok;

    pthread_create(&t, NULL, read_private, vm);
    while (!reading) {
        sched_yield();
    }
    ok = vm_run(vm) == KVM_EXIT_HLT && guest_passed(vm_shared(vm));
    stop = true;
    pthread_join(t, NULL);
    if (seen_clear || !seen_shared) {
        printf("# seen in the clear %d times, shared %d times\n", seen_clear, seen_shared);
    }
    return ok && !seen_clear && seen_shared;
}

static bool debug_decrypt(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_private);
    uint64_t *buf = aligned_alloc(4096, 4096);
    struct kvm_sev_dbg d = {
        .src_uaddr = (uintptr_t)vm->mem + SECRET_PAGE,
        .dst_uaddr = (uintptr_t)buf, .len = 16,
    };

    if (vm_run(vm) != KVM_EXIT_HLT ||
        vm_sev(vm, KVM_SEV_DBG_DECRYPT, &d) || buf[0] != MAGIC) {
        printf("# %#llx\n", (unsigned long long)buf[0]);
        return false;
    }
    d.dst_uaddr = d.src_uaddr;
    d.src_uaddr = (uintptr_t)buf;
    buf[0] = 42;
    return vm_run(vm) == KVM_EXIT_HLT &&
           !vm_sev(vm, KVM_SEV_DBG_ENCRYPT, &d) &&
           vm_run(vm) == KVM_EXIT_HLT && vm_shared(vm)->value[0] == 42;
}

/* The guest's own access without the C-bit is the host's view */
static GUEST void g_alias(void)
{
    uint64_t cipher;

    private_word = MAGIC;
    cipher = alias_word;
    shared->value[0] = cipher;
    asm volatile("mov %%cr3, %%r11; mov %%r11, %%cr3" : : : "r11", "memory");
    CHECK(cipher != MAGIC);
    CHECK(private_word == MAGIC);
}

static bool alias(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_alias);
    uint64_t host;

    if (vm_run(vm) != KVM_EXIT_HLT) {
        return false;
    }
    host = *host_word(vm, SECRET_PAGE);
    return host == vm_shared(vm)->value[0] && guest_passed(vm_shared(vm));
}

const struct test memory_tests[] = {
    { "the host reads scrambled private memory", host_reads },
    { "the host reads private memory that the guest is at work in", contended },
    { "the host's write destroys private memory", host_writes },
    { "a device reads scrambled private memory", device_reads, INVASIVE },
    { "a device's write destroys private memory", device_writes, INVASIVE },
    { "DBG_DECRYPT and DBG_ENCRYPT see what the guest sees", debug_decrypt },
    { "an access without the C-bit sees what the host sees", alias },
    { NULL, NULL }
};
