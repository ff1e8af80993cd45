/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * AMD SEV, SEV-ES and SEV-SNP for TCG: what QEMU's own files call, and what
 * stands in CPU state.  Behaviour is that of AMD's APM, volume 2, unless said
 * otherwise.
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

/* Features of SVM that KVM wants for SEV, and TCG lacks */
#define SEV_SVM_FEATURES (CPUID_SVM_NRIPSAVE | CPUID_SVM_LBRV | \
                          CPUID_SVM_FLUSHASID | CPUID_SVM_DECODEASSIST)

/* Exit codes that svm.h has no name for; those of CR1 to CR15 follow */
#define SVM_EXIT_EFER_WRITE_TRAP 0x08f
#define SVM_EXIT_CR0_WRITE_TRAP 0x090

#define SEV_SAVE_SIZE           0x298   /* bytes in which VMCB save area and VMSA agree */

/* In CPUX86State; cleared by a CPU reset */
typedef struct SevTcgState {
    uint64_t cbit;              /* C-bit of the running guest, 0: not SEV */
    uint64_t vmsa;              /* VMSA page of the running SEV-ES guest, or 0 */
    uint64_t key;               /* memory encryption key of the running guest */
    uint64_t host_pat;          /* PAT, which VMRUN replaces */
    bool private;               /* the last leaf of the guest's tables had the C-bit */
    uint64_t gpa;               /* where it led, without the C-bit */
    bool snp;                   /* the running guest is an SNP guest */
    uint8_t vmpl;               /* of the VMSA that runs */
    bool rmp_insn;              /* PVALIDATE or RMPADJUST looks up its page: need not be validated */
    uint32_t asid;              /* of the running SEV-ES guest */
    uint32_t syscfg;            /* SYSCFG_... that software has set in the MSR */
    uint64_t sev_status;        /* the guest's MSR C001_0131 */
    uint64_t features;          /* SEV_FEATURES of its VMSA */
    uint64_t lbr[5];            /* DEBUGCTL, last branch, last exception */
    bool lbrv;                  /* the guest has its own of these */
    bool tf, branch;            /* RFLAGS.TF before the instruction; it is a branch */
    uint64_t from, not_taken;   /* its RIP, and that after it if it is conditional */
    uint8_t page[4096];         /* the VMSA in the clear */
    uint8_t vmcb_save[SEV_SAVE_SIZE];   /* what the hypervisor had there, for #VMEXIT */
} SevTcgState;

struct CPUArchState;

/* ---- called by hooks in existing files ---- */

/* CPUID 0x8000001F of a processor with x-sev-tcg=on; another's registers stay */
void sev_tcg_cpuid(struct CPUArchState *env, uint32_t *eax, uint32_t *ebx,
                   uint32_t *ecx, uint32_t *edx);

/*
 * VMRUN of @asid with the word at VMCB + 0x90: check what is encrypted, take
 * the guest's state from its VMSA; leaves with #VMEXIT(INVALID) if it is refused
 */
void sev_tcg_vmrun(struct CPUArchState *env, uint64_t nested_ctl,
                   uint32_t asid, uintptr_t ra);
/* #VMEXIT: guest state to the VMSA; the host gets its type B state, and reset values of type C */
void sev_tcg_vmexit(struct CPUArchState *env);
/*
 * An intercept is about to become a #VMEXIT: turn it into #VC where the
 * architecture says so, else do nRIP, decode assists and RIP.
 * Returns the return address to unwind with.
 */
uintptr_t svm_tcg_intercept(struct CPUArchState *env, uint64_t exit_code,
                            uint64_t *exit_info_1, uintptr_t ra);
/* Clear an EXITINTINFO that is not valid: KVM tests its type bits alone */
void svm_tcg_exit_int_info(struct CPUArchState *env);
/* Where an event of EVENTINJ returns to: software events to the VMCB's nRIP, others to RIP */
uint64_t svm_tcg_event_rip(struct CPUArchState *env, uint32_t event_inj);
/* Write trap of a CR or EFER, whose write of @val is done: leave if it is intercepted */
void sev_tcg_trap(struct CPUArchState *env, uint32_t exit_code, uint64_t val,
                  uintptr_t ra);
/* VMMCALL with REP prefix; returns when it is no VMGEXIT */
void sev_tcg_vmgexit(struct CPUArchState *env, uintptr_t ra);
/* RDMSR and WRMSR of what is emulated here, before the MSR bitmap is looked at; true: done */
bool sev_tcg_rdmsr(struct CPUArchState *env, uintptr_t ra);
bool sev_tcg_wrmsr(struct CPUArchState *env, uintptr_t ra);
/* Last branch recording: an instruction is done; returns if its single step is the guest's, too */
void svm_lbr_step(struct CPUArchState *env);
/* SYSCALL or SYSRET is done: TF counts as it is afterwards */
void svm_lbr_recheck(struct CPUArchState *env);
/* An event is about to be delivered; has been, with @vector */
void svm_lbr_event(struct CPUArchState *env);
void svm_lbr_event_done(struct CPUArchState *env, int vector);

/*
 * Leaf of a guest's page tables: note its C-bit, give its address without.
 * Tables that have no room for the bit (@has_cbit false) map private pages.
 */
uint64_t sev_tcg_leaf(struct CPUArchState *env, uint64_t paddr, bool has_cbit);
/*
 * The page at @paddr is about to be entered into the TLB, or a page table to
 * be read there: let it hold what this CPU sees in it.
 */
void sev_tcg_page(struct CPUArchState *env, int mmu_idx, uint64_t paddr);
void sev_tcg_walk(struct CPUArchState *env, int ptw_idx, uint64_t paddr);

/* Memory as the host's devices see it: what an IOMMU translates to; NULL without amd-psp */
extern struct AddressSpace *sev_tcg_host_view;
/* Give a device room for bounce buffers: each word of that view is copied */
void sev_tcg_bounce(struct PCIBus *bus, int devfn);

/* ---- between the files of this directory ---- */

/* Is the exit with this EXITCODE and EXITINFO1 automatic, that is without #VC (APM, "Automatic Exits")? */
bool svm_tcg_automatic_exit(uint64_t code, uint64_t info1);

/* Write DEBUGCTL; change it over, with the records, if the guest has its own */
void sev_lbr_control(struct CPUArchState *env, uint64_t debugctl);
void sev_lbr_vmrun(struct CPUArchState *env);
void sev_lbr_vmexit(struct CPUArchState *env);

#endif
