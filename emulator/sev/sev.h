/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * AMD SEV and SEV-ES for TCG: what QEMU's existing files and the files of
 * this directory know of each other.
 */
#ifndef I386_TCG_SEV_H
#define I386_TCG_SEV_H

/*
 * In what processors with SEV differ, as CPUID 0x8000001F tells it (APM volume
 * 3, "Encrypted Memory Capabilities"): properties of the CPU.
 */
typedef struct SevTcgModel {
    uint8_t cbit;               /* EBX[5:0]: position of the C-bit */
    bool debug_swap;            /* EAX[14] */
    uint32_t asids;             /* ECX: guests have ASIDs 1 to this */
    uint32_t min_sev_asid;      /* EDX: those below run SEV-ES and SNP guests, the others SEV guests */
} SevTcgModel;

#define SEV_ASIDS_MAX           1023    /* an entry of the reverse map table has 10 bits */
#define SEV_PHYS_REDUCED        1       /* EBX[11:6]: address bits that encryption costs */

/* What KVM wants of SVM besides */
#define SEV_SVM_FEATURES (CPUID_SVM_NRIPSAVE | CPUID_SVM_LBRV | \
                          CPUID_SVM_FLUSHASID | CPUID_SVM_DECODEASSIST)

/* Exit codes that svm.h has no name for; those of CR1 to CR15 follow */
#define SVM_EXIT_EFER_WRITE_TRAP 0x08f
#define SVM_EXIT_CR0_WRITE_TRAP 0x090

#define SEV_SAVE_SIZE           0x298   /* common part of VMCB save and VMSA */

/* In CPUX86State; cleared by a CPU reset */
typedef struct SevTcgState {
    uint64_t cbit;              /* C-bit of the running guest, 0: not SEV */
    uint64_t vmsa;              /* VMSA page of the running SEV-ES guest, or 0 */
    uint64_t key;               /* memory encryption key of the running guest */
    uint64_t host_pat;
    bool private;               /* C-bit of the last leaf */
    uint64_t gpa;               /* its address, without */
    bool snp;                   /* the running guest is an SNP guest */
    uint8_t vmpl;               /* of the VMSA that runs */
    bool rmp_insn;              /* an instruction looks up the page it is to change */
    uint32_t asid;
    uint32_t syscfg;            /* what software has set in the MSR */
    uint64_t sev_status;        /* the guest's MSR C001_0131 */
    uint64_t features;          /* SEV_FEATURES of its VMSA */
    uint64_t lbr[5];            /* DEBUGCTL, last branch, last exception */
    bool lbrv;                  /* the guest has its own */
    bool tf, branch;            /* RFLAGS before the instruction; what it is */
    uint64_t from, not_taken;   /* where it stands, and where it may go on */
    uint8_t page[4096];         /* the VMSA in the clear */
    uint8_t vmcb_save[SEV_SAVE_SIZE];
} SevTcgState;

struct CPUArchState;

/* ---- called by hooks in existing files ---- */

void sev_tcg_cpuid(struct CPUArchState *env, uint32_t *eax, uint32_t *ebx,
                   uint32_t *ecx, uint32_t *edx);

/* VMRUN: take the guest's state from its VMSA; may leave with #VMEXIT */
void sev_tcg_vmrun(struct CPUArchState *env, uint64_t nested_ctl,
                   uint32_t asid, uintptr_t ra);
/* #VMEXIT: guest state to the VMSA, the host's type B and C state back */
void sev_tcg_vmexit(struct CPUArchState *env);
/*
 * An intercept is about to become a #VMEXIT: turn it into #VC where the
 * architecture says so, else do nRIP, decode assists and RIP.
 * Returns the return address to unwind with.
 */
uintptr_t svm_tcg_intercept(struct CPUArchState *env, uint64_t exit_code,
                            uint64_t *exit_info_1, uintptr_t ra);
/* EXITINTINFO holds nothing when it is not valid */
void svm_tcg_exit_int_info(struct CPUArchState *env);
/* Injected software events return to the nRIP that the hypervisor gave; RIP stays till then */
uint64_t svm_tcg_event_rip(struct CPUArchState *env, uint32_t event_inj);
/* CR and EFER write traps */
void sev_tcg_trap(struct CPUArchState *env, uint32_t exit_code, uint64_t val,
                  uintptr_t ra);
/* VMMCALL with REP prefix; returns when it is no VMGEXIT */
void sev_tcg_vmgexit(struct CPUArchState *env, uintptr_t ra);
/* MSRs whose interception is not up to the hypervisor; true: done */
bool sev_tcg_rdmsr(struct CPUArchState *env, uintptr_t ra);
bool sev_tcg_wrmsr(struct CPUArchState *env, uintptr_t ra);
/* Last branch recording: an instruction is done; returns if #DB is due */
void svm_lbr_step(struct CPUArchState *env);
/* SYSCALL or SYSRET is done, which look at TF afterwards */
void svm_lbr_recheck(struct CPUArchState *env);
/* An event is about to be delivered; was */
void svm_lbr_event(struct CPUArchState *env);
void svm_lbr_event_done(struct CPUArchState *env, int vector);

/* Leaf of a guest's page tables: its C-bit is noted and taken off */
uint64_t sev_tcg_leaf(struct CPUArchState *env, uint64_t paddr, bool has_cbit);
/*
 * The page at @paddr is about to be entered into the TLB, or a page table to
 * be read there: let it hold what this CPU sees in it.
 */
void sev_tcg_page(struct CPUArchState *env, int mmu_idx, uint64_t paddr);
void sev_tcg_walk(struct CPUArchState *env, int ptw_idx, uint64_t paddr);

/*
 * Memory as the host's devices see it, or NULL: what an IOMMU translates to.
 * Each word of it is copied, so a device of @bus needs room for a request.
 */
extern struct AddressSpace *sev_tcg_host_view;
void sev_tcg_bounce(struct PCIBus *bus, int devfn);

/* ---- between the files of this directory ---- */

/* Does this intercept leave an SEV-ES guest by itself, without #VC? */
bool svm_tcg_automatic_exit(uint64_t code, uint64_t info1);

/* DEBUGCTL; what VMRUN and #VMEXIT do with it and the records */
void sev_lbr_control(struct CPUArchState *env, uint64_t debugctl);
void sev_lbr_vmrun(struct CPUArchState *env);
void sev_lbr_vmexit(struct CPUArchState *env);

#endif
