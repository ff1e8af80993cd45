/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C headers that bindgen reads. Lines that begin with "// bindgen:" are options for bindgen.
 */
// bindgen: --allowlist-type vcpu_svm --allowlist-type ftrace_ops
// bindgen: --allowlist-type klp_patch --allowlist-type klp_object --allowlist-type klp_func
// bindgen: --allowlist-var 'SVM_EXIT_.*' --allowlist-var '__VCPU_REGS_.*' --allowlist-var KVM_EXIT_HYPERCALL
// bindgen: --opaque-type 'xen_.*' --opaque-type 'drm_.*' --opaque-type net --opaque-type 'ns_common.*'
#include <linux/ftrace.h>
#include <linux/kvm_host.h>
#include <linux/livepatch.h>
#include "svm/svm.h"
