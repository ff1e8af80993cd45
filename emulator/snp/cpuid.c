/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: the table of CPUID functions that a guest is launched with may
 * promise nothing that the processor has not (SNP ABI, CPUID Page).
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "firmware.h"

typedef struct QEMU_PACKED Function {
    uint32_t fn, sub;
    uint64_t xcr0, xss;                 /* what the sizes of leaf 0xd are told for */
    uint32_t reg[4];                    /* EAX, EBX, ECX, EDX */
    uint64_t reserved;
} Function;

typedef struct QEMU_PACKED Table {
    uint32_t count, reserved1;
    uint64_t reserved2;
    Function fn[64];
} Table;
QEMU_BUILD_BUG_ON(sizeof(Table) > PAGE);

enum { EAX, EBX, ECX, EDX };
#define ANY_SUB         UINT32_MAX

/* Words of features: a bit of a guest's has to be one of the processor's, but for those the hypervisor emulates */
static const struct { uint32_t fn, sub; uint8_t reg; uint32_t emulated; } features[] = {
    { 0x1, ANY_SUB, ECX, CPUID_EXT_HYPERVISOR | CPUID_EXT_OSXSAVE | CPUID_EXT_X2APIC },
    { 0x1, ANY_SUB, EDX, CPUID_HT },
    { 0x7, 0, EBX, 0 },
    { 0x7, 0, ECX, CPUID_7_0_ECX_OSPKE },
    { 0x7, 0, EDX, 0 },
    { 0x7, 1, EAX, 0 },
    { 0xd, 0, EAX, 0 },
    { 0xd, 0, EDX, 0 },
    { 0xd, 1, EAX, 0 },
    { 0x80000001, ANY_SUB, ECX, CPUID_EXT3_CMP_LEG },
    { 0x80000001, ANY_SUB, EDX, 0 },
    { 0x80000007, ANY_SUB, EDX, 0 },
    { 0x80000008, ANY_SUB, EBX, 0 },
    { 0x8000001f, ANY_SUB, EAX, 0 },
    /* KVM sets these whatever the processor: SBPB, IBPB_BRTYPE, SRSO_NO */
    { 0x80000021, ANY_SUB, EAX, 7u << 27 },
};

/* Take off what the processor has not; true: there was something */
static bool correct(Function *f)
{
    CPUX86State *env = cpu_env(first_cpu);
    uint32_t fn = le32_to_cpu(f->fn), sub = le32_to_cpu(f->sub), has[4], surplus;
    bool wrong = false;
    int i;

    cpu_x86_cpuid(env, fn, sub, &has[EAX], &has[EBX], &has[ECX], &has[EDX]);
    for (i = 0; i < ARRAY_SIZE(features); i++) {
        if (features[i].fn != fn || (features[i].sub != sub && features[i].sub != ANY_SUB)) {
            continue;
        }
        surplus = le32_to_cpu(f->reg[features[i].reg]) & ~(has[features[i].reg] | features[i].emulated);
        if (surplus) {
            qemu_log_mask(LOG_GUEST_ERROR, "SNP: CPUID %#x:%#x promises %#x in register %d\n", fn, sub,
                          surplus, features[i].reg);
            f->reg[features[i].reg] &= cpu_to_le32(~surplus);
            wrong = true;
        }
    }
    return wrong;
}

bool snp_cpuid_page(uint8_t *page)
{
    Table *t = (Table *)page;
    uint32_t n = le32_to_cpu(t->count), i;
    bool wrong = n > ARRAY_SIZE(t->fn);

    for (i = 0; !wrong && i < n; i++) {
        wrong = t->fn[i].reserved;
    }
    for (i = 0; i < MIN(n, ARRAY_SIZE(t->fn)); i++) {
        wrong |= correct(&t->fn[i]);
    }
    return wrong;
}
