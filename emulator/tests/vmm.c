/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Just enough of a virtual machine monitor for SEV and SEV-ES guests.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "snp.h"

extern char __executable_start[], _end[];
extern void guest_entry(void);

static int fd = -1;                     /* of /dev/sev */

int sev_device(void)
{
    if (fd < 0) {
        fd = open("/dev/sev", O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            err(1, "/dev/sev");
        }
    }
    return fd;
}

bool sev_close(void)
{
    bool ok = fd < 0 || !close(fd);

    fd = -1;
    return ok;
}

int platform(int cmd, void *data, uint32_t *error)
{
    struct sev_issue_cmd c = { .cmd = cmd, .data = (uintptr_t)data };
    int ret = ioctl(sev_device(), SEV_ISSUE_CMD, &c);

    *error = c.error;
    return ret;
}

int vm_sev(struct vm *vm, int cmd, void *data)
{
    struct kvm_sev_cmd c = {
        .id = cmd, .data = (uintptr_t)data, .sev_fd = sev_device(),
    };
    int ret = ioctl(vm->fd, KVM_MEMORY_ENCRYPT_OP, &c);

    vm->error = c.error;
    return ret;
}

static void registers(struct vm *vm, uint64_t rip, uint64_t rsp, uint64_t rdi)
{
    struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1,
        .l = 1, .g = 1,
    };
    struct kvm_regs regs = {
        .rip = rip, .rflags = 2, .rsp = rsp, .rdi = rdi,
    };
    struct kvm_segment data = code;
    struct kvm_sregs s;

    data.selector = 0x10;
    data.type = 3;
    data.l = 0;
    data.db = 1;
    if (ioctl(vm->cpu, KVM_GET_SREGS, &s)) {
        err(1, "KVM_GET_SREGS");
    }
    s.cs = code;
    s.ds = s.es = s.ss = s.fs = s.gs = data;
    s.cr0 = 0x80050033;
    s.cr3 = TABLES;
    s.cr4 = 0x668;                      /* DE, PAE, MCE, OSFXSR, OSXMMEXCPT */
    s.efer = 0x500 | (s.efer & 0x1000);
    if (ioctl(vm->cpu, KVM_SET_SREGS, &s) ||
        ioctl(vm->cpu, KVM_SET_REGS, &regs)) {
        err(1, "registers of the guest");
    }
}

static void cpuid(struct vm *vm, int id)
{
    struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    unsigned i;

    c->nent = 256;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c)) {
        err(1, "KVM_GET_SUPPORTED_CPUID");
    }
    for (i = 0; i < c->nent; i++) {
        if (c->entries[i].function == 1) {
            c->entries[i].ebx = (c->entries[i].ebx & 0xffffff) | id << 24;
        }
    }
    if (ioctl(vm->cpu, KVM_SET_CPUID2, c)) {
        err(1, "KVM_SET_CPUID2");
    }
    free(c);
    close(kvm);
}

static void add_cpu(struct vm *vm, int id)
{
    vm->cpu = ioctl(vm->fd, KVM_CREATE_VCPU, id);
    vm->run = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu, 0);
    if (vm->run == MAP_FAILED) {
        err(1, "KVM_CREATE_VCPU");
    }
    cpuid(vm, id);
}

struct vm *vm_add_cpu(struct vm *vm, int id, void (*fn)(uint64_t id), uint64_t stack)
{
    struct vm *cpu = malloc(sizeof(*cpu));

    *cpu = *vm;
    add_cpu(cpu, id);
    registers(cpu, (uintptr_t)fn, stack - 8, id);       /* as after a call */
    return cpu;
}

struct vm *vm_new_empty(enum type type)
{
    static const int types[] = { KVM_X86_DEFAULT_VM, KVM_X86_SEV_VM,
                                 KVM_X86_SEV_ES_VM, KVM_X86_SNP_VM };
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    struct vm *vm = calloc(1, sizeof(*vm));
    struct kvm_userspace_memory_region region = { .memory_size = MEM_SIZE };
    struct kvm_enc_region enc = { .size = SHARED };
    struct kvm_sev_init init = { 0 };

    vm->type = type;
    vm->fd = ioctl(kvm, KVM_CREATE_VM, types[type]);
    if (vm->fd < 0) {
        err(1, "KVM_CREATE_VM");
    }
    vm->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(vm->mem, MEM_SIZE, MADV_NOHUGEPAGE);
    region.userspace_addr = enc.addr = (uintptr_t)vm->mem;
    if (type != SNP && ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region)) {
        err(1, "memory of the guest");
    }
    if ((type != PLAIN && vm_sev(vm, KVM_SEV_INIT2, &init)) ||
        ((type == SEV || type == SEV_ES) && ioctl(vm->fd, KVM_MEMORY_ENCRYPT_REG_REGION, &enc))) {
        err(1, "KVM_SEV_INIT2");
    }
    if (type == SNP) {
        snp_memory(vm);
    }
    close(kvm);
    return vm;
}

struct vm *vm_new(enum type type, void (*fn)(void))
{
    struct vm *vm = vm_new_empty(type);

    memcpy(vm->mem + (uintptr_t)__executable_start, __executable_start,
           _end - __executable_start);
    guest_tables(vm->mem, vm->type == PLAIN ? 0 : processor.c_bit);
    add_cpu(vm, 0);
    registers(vm, (uintptr_t)guest_entry, 0, (uintptr_t)fn);
    return vm;
}

int vm_start(struct vm *vm, uint32_t policy)
{
    struct kvm_sev_launch_start start = { .policy = policy };

    return vm_sev(vm, KVM_SEV_LAUNCH_START, &start);
}

int vm_update(struct vm *vm)
{
    struct kvm_sev_launch_update_data data = {
        .uaddr = (uintptr_t)vm->mem, .len = SHARED,
    };
    int ret = vm_sev(vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data);

    if (!ret && vm->type == SEV_ES) {
        ret = vm_sev(vm, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL);
    }
    return ret;
}

int vm_measure(struct vm *vm)
{
    struct kvm_sev_launch_measure m = {
        .uaddr = (uintptr_t)vm->measure, .len = sizeof(vm->measure),
    };

    return vm_sev(vm, KVM_SEV_LAUNCH_MEASURE, &m);
}

int vm_finish(struct vm *vm)
{
    return vm_sev(vm, KVM_SEV_LAUNCH_FINISH, NULL);
}

struct vm *vm_launch(enum type type, void (*fn)(void))
{
    struct vm *vm = vm_new(type, fn);

    if (type == SNP) {
        snp_launch(vm);
    } else if (type != PLAIN && (vm_start(vm, type == SEV_ES ? 4 : 0) ||
                          vm_update(vm) || vm_measure(vm) || vm_finish(vm))) {
        err(1, "launch (firmware error %#x)", vm->error);
    }
    return vm;
}

int vm_run(struct vm *vm)
{
    while (ioctl(vm->cpu, KVM_RUN, NULL)) {
        if (errno == EFAULT && vm->run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
            break;
        }
        if (errno != EINTR && errno != EAGAIN) {
            printf("# KVM_RUN: %s\n", strerror(errno));
            return -1;
        }
    }
    return vm->run->exit_reason;
}

void vm_free(struct vm *vm)
{
    munmap(vm->run, 0x1000);
    munmap(vm->mem, MEM_SIZE);
    close(vm->cpu);
    if (vm->type == SNP) {
        close(vm->private);
    }
    close(vm->fd);
    free(vm);
}

volatile struct mailbox *vm_shared(struct vm *vm)
{
    return (volatile struct mailbox *)(vm->mem + SHARED);
}
