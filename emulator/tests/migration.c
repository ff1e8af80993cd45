/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest is sent and received.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "guest.h"
#include "owner.h"
#include "tests.h"

#define MAGIC 0x6d6f7665645f6f6eull
#define private_word    (*(volatile uint64_t *)SECRET_PAGE)

static GUEST void g_source(void)
{
    private_word = MAGIC;
}

static GUEST void g_target(void)
{
    CHECK(private_word == MAGIC);
}

static bool gives(struct vm *vm, int ret, uint32_t error)
{
    if ((ret < 0) != (error != 0) || vm->error != error) {
        printf("# returned %d, error %#x instead of %#x\n", ret, vm->error, error);
        return false;
    }
    return true;
}

static bool state_is(struct vm *vm, uint32_t state)
{
    struct kvm_sev_guest_status s = { 0 };

    return !vm_sev(vm, KVM_SEV_GUEST_STATUS, &s) && s.state == state;
}

static int send_start(struct vm *vm, struct chain *to, struct session *s)
{
    struct kvm_sev_send_start x = {
        .pdh_cert_uaddr = (uintptr_t)&to->pdh, .pdh_cert_len = sizeof(to->pdh),
        .plat_certs_uaddr = (uintptr_t)to,
        .plat_certs_len = 3 * sizeof(struct cert),
        .amd_certs_uaddr = (uintptr_t)to, .amd_certs_len = sizeof(struct cert),
        .session_uaddr = (uintptr_t)s, .session_len = sizeof(*s),
    };

    return vm_sev(vm, KVM_SEV_SEND_START, &x);
}

static int receive_start(struct vm *vm, struct chain *from, struct session *s,
                         uint32_t policy)
{
    struct kvm_sev_receive_start x = {
        .policy = policy, .pdh_uaddr = (uintptr_t)&from->pdh,
        .pdh_len = sizeof(from->pdh), .session_uaddr = (uintptr_t)s,
        .session_len = sizeof(*s),
    };

    return vm_sev(vm, KVM_SEV_RECEIVE_START, &x);
}

static uint8_t hdr[52], data[4096];

static int send_page(struct vm *vm, uint64_t a)
{
    struct kvm_sev_send_update_data x = {
        .hdr_uaddr = (uintptr_t)hdr, .hdr_len = sizeof(hdr),
        .guest_uaddr = (uintptr_t)vm->mem + a, .guest_len = sizeof(data),
        .trans_uaddr = (uintptr_t)data, .trans_len = sizeof(data),
    };

    return vm_sev(vm, KVM_SEV_SEND_UPDATE_DATA, &x);
}

static int receive_page(struct vm *vm, uint64_t a)
{
    struct kvm_sev_receive_update_data x = {
        .hdr_uaddr = (uintptr_t)hdr, .hdr_len = sizeof(hdr),
        .guest_uaddr = (uintptr_t)vm->mem + a, .guest_len = sizeof(data),
        .trans_uaddr = (uintptr_t)data, .trans_len = sizeof(data),
    };

    return vm_sev(vm, KVM_SEV_RECEIVE_UPDATE_DATA, &x);
}

static bool migrate(void)
{
    struct vm *from = vm_launch(SEV, g_source), *to = vm_new(SEV, g_target);
    struct session s;
    struct chain c;
    uint64_t a;

    if (vm_run(from) != KVM_EXIT_HLT || !guest_passed(vm_shared(from)) ||
        !platform_chain(&c) || !gives(from, send_start(from, &c, &s), 0) ||
        !state_is(from, 4) || !gives(to, receive_start(to, &c, &s, 0), 0) ||
        !state_is(to, 5)) {
        return false;
    }
    for (a = 0; a < SHARED; a += sizeof(data)) {
        if (!gives(from, send_page(from, a), 0) ||
            !gives(to, receive_page(to, a), 0)) {
            return false;
        }
    }
    return !vm_sev(from, KVM_SEV_SEND_FINISH, NULL) && state_is(from, 6) &&
           gives(from, vm_sev(from, KVM_SEV_SEND_CANCEL, NULL), 2) &&
           !vm_sev(to, KVM_SEV_RECEIVE_FINISH, NULL) && state_is(to, 3) &&
           gives(to, receive_page(to, 0), 2) &&
           vm_run(to) == KVM_EXIT_HLT && guest_passed(vm_shared(to));
}

/* An owner of the target's keys sends: what arrives is what was packed */
static bool packets(void)
{
    struct vm *to = vm_new(SEV, g_target);
    struct transport t;
    struct session s;
    struct chain c, from = { };
    uint64_t a;

    if (!platform_chain(&c)) {
        return false;
    }
    session_new(&s, &from.pdh, &t, &c.pdh, 0);
    if (!gives(to, receive_start(to, &from, &s, 1), 0xb) ||
        !gives(to, receive_start(to, &from, &s, 0), 0)) {
        return false;
    }
    for (a = 0; a < SHARED; a += sizeof(data)) {
        memcpy(data, to->mem + a, sizeof(data));
        if (a == SECRET_PAGE) {
            *(uint64_t *)data = MAGIC;
        }
        packet_seal(hdr, 2, &t, NULL, data, sizeof(data));
        data[5] ^= a == SECRET_PAGE;
        if (a == SECRET_PAGE && !gives(to, receive_page(to, a), 0xb)) {
            return false;
        }
        data[5] ^= a == SECRET_PAGE;
        if (!gives(to, receive_page(to, a), 0)) {
            return false;
        }
    }
    return !vm_sev(to, KVM_SEV_RECEIVE_FINISH, NULL) &&
           vm_run(to) == KVM_EXIT_HLT && guest_passed(vm_shared(to));
}

static bool policies(void)
{
    struct kvm_sev_send_start none = { 0 };
    struct kvm_sev_send_update_data lengths = { 0 };
    struct vm *free = vm_launch(SEV, g_source), *nosend = vm_new(SEV, g_source);
    struct vm *domain = vm_new(SEV, g_source);
    struct chain c, other;
    struct session s;
    EVP_PKEY *key;

    if (!platform_chain(&c)) {
        return false;
    }
    /* Another domain: the same platform, signed by an OCA of its own */
    other = c;
    key = cert_new(&other.oca, OCA, ECDSA_SHA256);
    cert_sign(&other.oca, 0, &other.oca, key);
    cert_sign(&other.pek, 0, &other.oca, key);
    if (vm_start(nosend, 8) || vm_update(nosend) || vm_finish(nosend) ||
        vm_start(domain, 16) || vm_update(domain) ||
        !gives(domain, send_start(domain, &c, &s), 2) || vm_finish(domain)) {
        return false;
    }
    if (!gives(nosend, send_start(nosend, &c, &s), 7) ||
        !gives(domain, send_start(domain, &other, &s), 7) ||
        !gives(domain, send_start(domain, &c, &s), 0) ||
        !gives(free, vm_sev(free, KVM_SEV_SEND_START, &none), 4) ||
        none.session_len != sizeof(s) || !gives(free, send_page(free, 0), 2)) {
        return false;
    }
    other.pdh.x[0] ^= 1;
    if (!gives(free, send_start(free, &other, &s), 0xa)) {
        return false;
    }
    other.pdh.x[0] ^= 1;
    return gives(free, send_start(free, &other, &s), 0) &&
           gives(free, vm_sev(free, KVM_SEV_SEND_UPDATE_DATA, &lengths), 4) &&
           lengths.hdr_len == sizeof(hdr) &&
           gives(free, vm_sev(free, KVM_SEV_SEND_CANCEL, NULL), 0) &&
           state_is(free, 3) && vm_run(free) == KVM_EXIT_HLT;
}

const struct test migration_tests[] = {
    { "a guest sent and received", migrate },
    { "RECEIVE_UPDATE_DATA of packets packed by the test", packets },
    { "SEND_START obeys the policy", policies },
    { NULL, NULL }
};
