/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Commands of the firmware: states, parameters, errors, and what the owner of
 * a guest computes with them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "guest.h"
#include "owner.h"
#include "sha256.h"
#include "tests.h"

static bool fails(struct vm *vm, int ret, uint32_t error)
{
    if (ret >= 0 || vm->error != error) {
        printf("# returned %d, error %#x instead of %#x\n", ret, vm->error,
               error);
        return false;
    }
    return true;
}

static void nothing(void) { }

static bool platform_state(void)
{
    struct sev_user_data_status s;
    struct vm *vm = vm_new(SEV, nothing);
    uint32_t error, guests;

    if (platform(SEV_PLATFORM_STATUS, &s, &error) || s.state != 1) {
        printf("# state %d\n", s.state);
        return false;
    }
    guests = s.guest_count;
    if (vm_start(vm, 0) || platform(SEV_PLATFORM_STATUS, &s, &error)) {
        return false;
    }
    return s.state == 2 && s.guest_count == guests + 1 && s.api_major == 1 &&
           (s.flags & 0x100) &&
           platform(SEV_PEK_GEN, NULL, &error) && error == 1;
}

static bool get_id(void)
{
    struct sev_user_data_get_id2 id = { 0 };
    uint8_t a[64] = { 0 };
    uint32_t error;

    if (!platform(SEV_GET_ID2, &id, &error) || error != 4 || id.length != 64) {
        return false;
    }
    id.address = (uintptr_t)a;
    return !platform(SEV_GET_ID2, &id, &error) && a[0];
}

static bool guest_states(void)
{
    struct vm *vm = vm_new(SEV, nothing);
    struct kvm_sev_guest_status s = { 0 };

    return !vm_start(vm, 0) && !vm_sev(vm, KVM_SEV_GUEST_STATUS, &s) &&
           s.state == 1 && !vm_update(vm) && !vm_measure(vm) &&
           !vm_sev(vm, KVM_SEV_GUEST_STATUS, &s) && s.state == 2 &&
           fails(vm, vm_update(vm), 2) && fails(vm, vm_measure(vm), 2) &&
           !vm_finish(vm) && !vm_sev(vm, KVM_SEV_GUEST_STATUS, &s) &&
           s.state == 3 && fails(vm, vm_finish(vm), 2);
}

static bool measure_length(void)
{
    struct vm *vm = vm_new(SEV, nothing);
    struct kvm_sev_launch_measure m = { 0 };

    return !vm_start(vm, 0) && !vm_update(vm) &&
           fails(vm, vm_sev(vm, KVM_SEV_LAUNCH_MEASURE, &m), 4) && m.len == 48;
}

static bool debug_policy(void)
{
    struct vm *vm = vm_new(SEV, nothing);
    uint8_t *buf = aligned_alloc(4096, 4096);
    struct kvm_sev_dbg d = {
        .src_uaddr = (uintptr_t)vm->mem + SECRET_PAGE,
        .dst_uaddr = (uintptr_t)buf, .len = 64,
    };

    return !vm_start(vm, 1) && !vm_update(vm) &&
           fails(vm, vm_sev(vm, KVM_SEV_DBG_DECRYPT, &d), 7);
}

/* An SEV guest has no VMSA to update, whatever its policy says */
static bool es_policy(void)
{
    struct vm *vm = vm_new(SEV_ES, nothing);

    return fails(vm, vm_start(vm, 0) ?: vm_update(vm), 0xd) ||
           fails(vm, vm_start(vm, 0), 0xd);
}

/* HMAC(TIK; 4, API, policy, digest of what was launched, nonce) */
static bool measurement(void)
{
    static const uint8_t tik[16];
    struct vm *vm = vm_new(SEV, nothing);
    struct sev_user_data_status s;
    uint8_t msg[8 + 32 + 16] = { 4 }, mac[32];
    uint32_t error;

    if (vm_start(vm, 0)) {
        return false;
    }
    sha256(vm->mem, SHARED, msg + 8);
    if (vm_update(vm) || vm_measure(vm) ||
        platform(SEV_PLATFORM_STATUS, &s, &error)) {
        return false;
    }
    msg[1] = s.api_major;
    msg[2] = s.api_minor;
    msg[3] = s.build;
    memcpy(msg + 40, vm->measure + 32, 16);
    hmac_sha256(tik, sizeof(tik), msg, sizeof(msg), mac);
    return !memcmp(mac, vm->measure, 32);
}

static const char secret_text[17] = "sixteen letters.";
/* AES-128 of a block of zeros under the key zero: FIPS 197 implementations' */
static const uint8_t stream[16] = {
    0x66, 0xe9, 0x4b, 0xd4, 0xef, 0x8a, 0x2c, 0x3b,
    0x88, 0x4c, 0xfa, 0x59, 0xca, 0x34, 0x2b, 0x2e,
};

static GUEST void g_secret(void)
{
    volatile uint8_t *p = (void *)SECRET_PAGE;
    int i;

    for (i = 0; i < 16; i++) {
        CHECK(p[i] == (uint8_t)secret_text[i]);
    }
}

static bool secret(void)
{
    static const uint8_t tik[16];
    struct vm *vm = vm_new(SEV_ES, g_secret);
    uint8_t *packet = aligned_alloc(4096, 4096), msg[29 + 16 + 32] = { 1 };
    uint8_t hdr[52] = { 0 };
    struct kvm_sev_launch_secret l = {
        .hdr_uaddr = (uintptr_t)hdr, .hdr_len = sizeof(hdr),
        .guest_uaddr = (uintptr_t)vm->mem + SECRET_PAGE, .guest_len = 16,
        .trans_uaddr = (uintptr_t)packet, .trans_len = 16,
    };
    int i;

    for (i = 0; i < 16; i++) {
        packet[i] = secret_text[i] ^ stream[i];
    }
    if (vm_start(vm, 4) || vm_update(vm) ||
        !fails(vm, vm_sev(vm, KVM_SEV_LAUNCH_SECRET, &l), 2) ||
        vm_measure(vm)) {
        return false;
    }
    msg[21] = msg[25] = 16;
    memcpy(msg + 29, packet, 16);
    memcpy(msg + 45, vm->measure, 32);
    hmac_sha256(tik, sizeof(tik), msg, sizeof(msg), hdr + 20);
    hdr[20] ^= 1;
    if (!fails(vm, vm_sev(vm, KVM_SEV_LAUNCH_SECRET, &l), 0xb)) {
        return false;
    }
    hdr[20] ^= 1;
    if (vm_sev(vm, KVM_SEV_LAUNCH_SECRET, &l)) {
        printf("# error %#x\n", vm->error);
        return false;
    }
    return !vm_finish(vm) && vm_run(vm) == KVM_EXIT_HLT &&
           guest_passed(vm_shared(vm));
}

const struct test firmware_tests[] = {
    { "platform state", platform_state },
    { "GET_ID and its length", get_id },
    { "guest states", guest_states },
    { "LAUNCH_MEASURE tells the length", measure_length },
    { "the policy forbids debugging", debug_policy },
    { "ASIDs of SEV-ES are not for SEV guests", es_policy },
    { "measurement", measurement },
    { "secret", secret },
    { NULL, NULL }
};
