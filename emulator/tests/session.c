/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Launches with a session: the transport keys are the guest owner's.
 */
#include <linux/psp-sev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "guest.h"
#include "owner.h"
#include "sha256.h"
#include "tests.h"

static void nothing(void) { }

static bool start(struct vm *vm, uint32_t policy, const struct cert *godh,
                  const struct session *s, uint32_t want)
{
    struct kvm_sev_launch_start l = {
        .policy = policy, .dh_uaddr = (uintptr_t)godh, .dh_len = sizeof(*godh),
        .session_uaddr = (uintptr_t)s, .session_len = sizeof(*s),
    };
    int ret = vm_sev(vm, KVM_SEV_LAUNCH_START, &l);

    if ((ret < 0) != (want != 0) || vm->error != want) {
        printf("# returned %d, error %#x instead of %#x\n", ret, vm->error, want);
        return false;
    }
    return true;
}

/* Everything that the owner's guest is started with counts */
static bool refused(void)
{
    struct vm *vm = vm_new(SEV, nothing);
    struct transport t;
    struct session s, bad;
    struct cert godh, wrong;
    struct chain c;

    if (!platform_chain(&c)) {
        return false;
    }
    session_new(&s, &godh, &t, &c.pdh, 0);
    bad = s;
    bad.wrapped[20] ^= 1;
    if (!start(vm, 0, &godh, &bad, 0xb)) {
        return false;
    }
    bad = s;
    bad.nonce[0] ^= 1;
    if (!start(vm, 0, &godh, &bad, 0xb)) {
        return false;
    }
    bad = s;
    bad.policy_mac[31] ^= 1;
    if (!start(vm, 0, &godh, &bad, 0xb) ||
        !start(vm, 1, &godh, &s, 0xb) ||        /* not the owner's policy */
        !start(vm, 2 << 16, &godh, &s, 7)) {    /* asks for API 2.0 */
        return false;
    }
    wrong = godh;
    wrong.usage = PEK;
    if (!start(vm, 0, &wrong, &s, 6)) {
        return false;
    }
    wrong = godh;
    wrong.x[7] ^= 1;                            /* no point of the curve */
    return start(vm, 0, &wrong, &s, 6) && start(vm, 0, &godh, &s, 0);
}

/* HMAC(TIK; 4, API, policy, digest of what was launched, nonce) */
static bool measured(struct vm *vm, const struct transport *t, uint32_t policy,
                     const uint8_t digest[32])
{
    uint8_t msg[8 + 32 + 16] = { 4 }, mac[32];
    struct sev_user_data_status s;
    uint32_t error;

    if (vm_measure(vm) || platform(SEV_PLATFORM_STATUS, &s, &error)) {
        return false;
    }
    msg[1] = s.api_major;
    msg[2] = s.api_minor;
    msg[3] = s.build;
    memcpy(msg + 4, &policy, 4);
    memcpy(msg + 8, digest, 32);
    memcpy(msg + 40, vm->measure + 32, 16);
    hmac_sha256(t->tik, 16, msg, sizeof(msg), mac);
    return !memcmp(mac, vm->measure, 32);
}

static const char secret_text[] = "of the owner's; known to nobody";

static GUEST void g_secret(void)
{
    volatile uint8_t *p = (void *)SECRET_PAGE;
    int i;

    for (i = 0; i < 32; i++) {
        CHECK(p[i] == (uint8_t)secret_text[i]);
    }
}

static bool owners_secret(void)
{
    struct vm *vm = vm_new(SEV, g_secret);
    uint8_t hdr[52], digest[32], *packet = aligned_alloc(4096, 4096);
    struct kvm_sev_launch_secret l = {
        .hdr_uaddr = (uintptr_t)hdr, .hdr_len = sizeof(hdr),
        .guest_uaddr = (uintptr_t)vm->mem + SECRET_PAGE, .guest_len = 32,
        .trans_uaddr = (uintptr_t)packet, .trans_len = 32,
    };
    struct transport t, other = { { 0 } };
    struct session s;
    struct cert godh;
    struct chain c;

    if (!platform_chain(&c)) {
        return false;
    }
    session_new(&s, &godh, &t, &c.pdh, 0);
    sha256(vm->mem, SHARED, digest);
    if (!start(vm, 0, &godh, &s, 0) || vm_update(vm) ||
        !measured(vm, &t, 0, digest)) {
        return false;
    }
    /* With other keys than the session's, the firmware does not accept it */
    memcpy(packet, secret_text, 32);
    packet_seal(hdr, 1, &other, vm->measure, packet, 32);
    if (!vm_sev(vm, KVM_SEV_LAUNCH_SECRET, &l) || vm->error != 0xb) {
        return false;
    }
    memcpy(packet, secret_text, 32);
    packet_seal(hdr, 1, &t, vm->measure, packet, 32);
    return !vm_sev(vm, KVM_SEV_LAUNCH_SECRET, &l) && !vm_finish(vm) &&
           vm_run(vm) == KVM_EXIT_HLT && guest_passed(vm_shared(vm));
}

/* Digest, policy and the asker's nonce, signed by the PEK */
static bool attestation(void)
{
    struct {
        uint8_t nonce[16], digest[32];
        uint32_t policy, usage, algo, reserved;
        uint8_t r[72], s[72];
    } report;
    struct vm *unmeasured = vm_new(SEV, nothing);
    struct kvm_sev_attestation_report a = { .mnonce = "asked just now" };
    struct vm *vm = vm_new(SEV, nothing);
    uint8_t digest[32], other[32];
    struct chain c;

    sha256(vm->mem, SHARED, digest);
    sha256(unmeasured->mem, SHARED, other);
    if (!platform_chain(&c) || vm_start(vm, 0) || vm_update(vm) ||
        !vm_sev(vm, KVM_SEV_GET_ATTESTATION_REPORT, &a) || vm->error != 2 ||
        vm_measure(vm) ||
        !vm_sev(vm, KVM_SEV_GET_ATTESTATION_REPORT, &a) || vm->error != 4 ||
        a.len != sizeof(report)) {
        printf("# error %#x, length %d\n", vm->error, a.len);
        return false;
    }
    a.uaddr = (uintptr_t)&report;
    if (vm_start(unmeasured, 0) || vm_update(unmeasured) || vm_finish(unmeasured) ||
        vm_sev(unmeasured, KVM_SEV_GET_ATTESTATION_REPORT, &a) ||
        memcmp(report.digest, other, 32)) {
        printf("# digest of a guest that was not measured\n");
        return false;
    }
    return !vm_sev(vm, KVM_SEV_GET_ATTESTATION_REPORT, &a) &&
           !memcmp(report.nonce, a.mnonce, 16) && report.policy == 0 &&
           !memcmp(report.digest, digest, 32) && report.usage == PEK &&
           report.algo == ECDSA_SHA256 &&
           signature_of(&report, 52, report.r, report.s, &c.pek);
}

/* Chain, provisioning, session, measurement, secret and report: no error */
static bool crate(void)
{
    return system("./sev_owner") == 0;
}

const struct test session_tests[] = {
    { "LAUNCH_START refuses what its session does not cover", refused },
    { "measurement and secret under the owner's keys", owners_secret },
    { "attestation report", attestation },
    { "the sev crate finds all this in order", crate },
    { NULL, NULL }
};
