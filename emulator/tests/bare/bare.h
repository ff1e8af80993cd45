/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A host without an operating system: it writes VMCBs and VMSAs itself, where
 * KVM would only ever write good ones. Its guests are those of ../vmm.h: a copy
 * of this program at the same guest addresses.
 */
#ifndef BARE_H
#define BARE_H

#include <asm/svm.h>
#include "../guest.h"

#define GUEST_MEM       0x4000000ull    /* where a guest's memory is */
#define VC              29

/* VMCB, control area */
#define INTERCEPT_CR    0x000
#define INTERCEPT_DR    0x004
#define INTERCEPT_EXCP  0x008
#define INTERCEPT_3     0x00c
#define INTERCEPT_4     0x010
#define MSRPM           0x048
#define ASID            0x058
#define TLB_CTL         0x05c
#define INT_CTL         0x060
#define EXIT_CODE       0x070
#define EXIT_INFO_1     0x078
#define EXIT_INFO_2     0x080
#define EXIT_INT_INFO   0x088
#define NESTED_CTL      0x090
#define EVENT_INJ       0x0a8
#define NESTED_CR3      0x0b0
#define VIRT_EXT        0x0b8
#define NEXT_RIP        0x0c8
#define INSN_LEN        0x0d0
#define VMSA_PA         0x108
#define SAVE            0x400

/* State save area and VMSA */
#define SA_CR3          0x150
#define SA_RIP          0x178
#define SA_RAX          0x1f8
#define SA_CR2          0x240
#define SA_DBGCTL       0x270

#define NESTED_NP       1
#define NESTED_SEV      2
#define NESTED_ES       4

#define FIRST_3         (1u << 24 | 1u << 31)   /* HLT, shutdown */
#define FIRST_4         (1u << 0)               /* VMRUN, which is a must */

#define field32(area, offset) (*(volatile uint32_t *)((area) + (offset)))
#define field64(area, offset) (*(volatile uint64_t *)((area) + (offset)))

extern uint8_t vmcb[4096], vmsa[4096], hsave[4096];
extern uint64_t regs[16];               /* the guest's, in VMRUN and after */
extern uint64_t nested_pages[512];      /* of SECRET_PAGE, 4 KiB each */
extern uint64_t nested_pd[512];         /* 2 MiB each */

#define told ((volatile struct mailbox *)(GUEST_MEM + SHARED))
/* A variable of the guest, if the guest is a plain one */
#define of_guest(variable) (*(volatile __typeof__(variable) *) \
                            (GUEST_MEM + (uintptr_t)&(variable)))

/*
 * What the command line has of an option of QEMU's that ends in "=": a number,
 * or 1 for "on" and 0 for "off"; @otherwise if it has none
 */
uint64_t asked(const char *option, uint64_t otherwise);

/* A new guest that starts with @fn; SEV-ES: its VMSA is still clear */
void guest_new(enum type type, void (*fn)(void));
/* A VMSA that starts with @fn; a guest may call it, too */
void vmsa_fill(uint8_t *page, void (*fn)(void));
/* The firmware takes it, and forgets the one before */
void guest_launch(void);
void guest_forget(void);
/* VMRUN of what is refused; the VMCB is as before, but for the exit code */
bool guest_refused(void);
/* VMRUN; gives the exit code */
uint64_t guest_run(void);
/* Run on to the guest's end, which must be HLT: did it fail anywhere? */
bool guest_ends(void);

/* CR2 of the host's last exception. It steps over a watched instruction, and ends the run elsewhere. */
extern uint64_t host_cr2;

/* A command of the firmware; gives its status */
uint32_t firmware(uint32_t command, void *buffer);

void *memset(void *to, int value, size_t n);
void *memcpy(void *to, const void *from, size_t n);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define EXPECT(what, value, wanted) ({                                    \
        uint64_t v_ = (value), w_ = (wanted);                             \
        if (v_ != w_) {                                                   \
            print("# %s:%d: " what " is %#lx, not %#lx\n", __FILE__, __LINE__, v_, w_); \
        }                                                                 \
        v_ == w_;                                                         \
    })

struct bare_test {
    const char *name;
    bool (*run)(void);
};

extern const struct bare_test processor_tests[], insn_tests[], vmrun_tests[], state_tests[],
                              debug_swap_tests[], no_debug_swap_tests[],
                              event_tests[], npf_tests[], lbr_tests[],
                              fault_tests[], msr_tests[], xsave_tests[];

#endif
