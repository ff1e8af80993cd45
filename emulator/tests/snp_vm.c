/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP guests of KVM: memory, launch, page state changes.
 */
#include <err.h>
#include <linux/kvm_para.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <fcntl.h>
#include "snp.h"

extern char __executable_start[], _end[];

int snp_changes;

bool snp_host(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int types = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES);

    close(kvm);
    return types > 0 && (types & 1 << KVM_X86_SNP_VM);
}

void snp_private(struct vm *vm, uint64_t gpa, uint64_t len, bool private)
{
    struct kvm_memory_attributes a = {
        .address = gpa, .size = len, .attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
    };

    if (ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &a)) {
        err(1, "KVM_SET_MEMORY_ATTRIBUTES");
    }
}

void snp_memory(struct vm *vm)
{
    struct kvm_create_guest_memfd create = { .size = MEM_SIZE };
    struct kvm_userspace_memory_region2 region = {
        .flags = KVM_MEM_GUEST_MEMFD, .memory_size = MEM_SIZE, .userspace_addr = (uintptr_t)vm->mem,
    };
    struct kvm_enable_cap cap = { .cap = KVM_CAP_EXIT_HYPERCALL, .args = { 1 << KVM_HC_MAP_GPA_RANGE } };

    vm->private = ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &create);
    region.guest_memfd = vm->private;
    if (vm->private < 0 || ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region) ||
        ioctl(vm->fd, KVM_ENABLE_CAP, &cap)) {
        err(1, "memory of the SNP guest");
    }
    snp_private(vm, 0, SHARED, true);
}

int snp_start(struct vm *vm, uint64_t policy)
{
    struct kvm_sev_snp_launch_start start = { .policy = policy };

    return vm_sev(vm, KVM_SEV_SNP_LAUNCH_START, &start);
}

int snp_update(struct vm *vm, uint64_t gpa, void *src, uint64_t len, int type)
{
    struct kvm_sev_snp_launch_update u = {
        .gfn_start = gpa / PAGE, .uaddr = (uintptr_t)src, .len = len, .type = type,
    };
    int ret = 0;

    while (!ret && u.len) {
        ret = vm_sev(vm, KVM_SEV_SNP_LAUNCH_UPDATE, &u);
    }
    return ret;
}

int snp_image(struct vm *vm)
{
    uint64_t start = (uintptr_t)__executable_start & -PAGE, end = ((uintptr_t)_end + PAGE - 1) & -PAGE;

    return snp_update(vm, TABLES, vm->mem + TABLES, 3 * PAGE, KVM_SEV_SNP_PAGE_TYPE_NORMAL) ?:
           snp_update(vm, start, vm->mem + start, end - start, KVM_SEV_SNP_PAGE_TYPE_NORMAL);
}

int snp_finish(struct vm *vm)
{
    struct kvm_sev_snp_launch_finish finish = { 0 };

    return vm_sev(vm, KVM_SEV_SNP_LAUNCH_FINISH, &finish);
}

void snp_launch(struct vm *vm)
{
    if (snp_start(vm, SNP_POLICY) || snp_image(vm) || snp_finish(vm)) {
        err(1, "launch (firmware error %#x)", vm->error);
    }
}

int snp_run(struct vm *vm)
{
    for (;;) {
        int reason = vm_run(vm);
        uint64_t *a = (uint64_t *)vm->run->hypercall.args;

        if (reason != KVM_EXIT_HYPERCALL || vm->run->hypercall.nr != KVM_HC_MAP_GPA_RANGE) {
            return reason;
        }
        snp_private(vm, a[0], a[1] * PAGE, a[2] & KVM_MAP_GPA_RANGE_ENCRYPTED);
        snp_changes++;
        vm->run->hypercall.ret = 0;
    }
}

bool snp_ends(struct vm *vm)
{
    volatile struct mailbox *s = vm_shared(vm);
    int reason = KVM_EXIT_HLT;

    while (reason == KVM_EXIT_HLT && !s->done && !s->failed) {
        reason = snp_run(vm);
    }
    if (reason != KVM_EXIT_HLT) {
        printf("# exit reason %d\n", reason);
        return false;
    }
    return guest_passed(s);
}

/* ---- in the guest ---- */

#define AT(offset)      (*(volatile uint64_t *)(GHCB + (offset)))
#define SET(offset, value) do {                                           \
        AT(offset) = (value);                                             \
        AT(0x3f0 + (offset) / 512 * 8) |= 1ull << ((offset) / 8 % 64);    \
    } while (0)

GUEST uint64_t ghcb_exit(uint64_t code, uint64_t info1, uint64_t info2, uint64_t rax, uint64_t rbx)
{
    AT(0x3f0) = AT(0x3f8) = 0;
    *(volatile uint16_t *)(GHCB + 0xffa) = 2;   /* version of the protocol */
    *(volatile uint32_t *)(GHCB + 0xffc) = 0;
    SET(0x1f8, rax);
    SET(0x318, rbx);
    SET(0x390, code);
    SET(0x398, info1);
    SET(0x3a0, info2);
    SET(0x3a8, SCRATCH);
    wrmsr(MSR_GHCB, GHCB);
    asm volatile("rep; vmmcall" : : : "memory");
    return AT(0x3a0);
}
