/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_H
#define TESTS_H

#include "vmm.h"

struct test {
    const char *name;
    bool (*run)(void);
    bool invasive;              /* changes what outlives it: a disk, the platform */
};

#define INVASIVE true

extern const struct test cpu_tests[], vcpu_tests[], event_tests[], firmware_tests[],
                         memory_tests[], paging_tests[], certificate_tests[], session_tests[],
                         migration_tests[], mailbox_tests[];

/* Has the guest come to its end without a failure? */
bool guest_passed(volatile struct mailbox *s);

/* A command of SEV_ISSUE_CMD, and what the firmware says of it */
int platform(int cmd, void *data, uint32_t *error);

/* KVM's kvm_exit tracepoint, and how often it named a reason */
void trace_exits(bool on);
int traced_exits(const char *reason);

#endif
