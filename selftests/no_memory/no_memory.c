// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a test's own system calls cannot have: allocations of one size, by the tasks of one process, fail as they
 * do when there is none. The kernel's fault injection does so too, but needs a kernel that is built for it.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>

static int process;
module_param(process, int, 0600);
MODULE_PARM_DESC(process, "Process whose allocations fail; 0: none");

static unsigned long size;
module_param(size, ulong, 0600);
MODULE_PARM_DESC(size, "Bytes of an allocation that fails");

static unsigned long failed;
module_param(failed, ulong, 0400);
MODULE_PARM_DESC(failed, "How many have failed");

/* Stands in for the allocating function. */
static void *nothing(void)
{
	return NULL;
}

static int fail(struct pt_regs *regs, unsigned long bytes)
{
	int wanted = READ_ONCE(process);

	if (!wanted || current->tgid != wanted || bytes != READ_ONCE(size))
		return 0;
	WRITE_ONCE(failed, READ_ONCE(failed) + 1);
	instruction_pointer_set(regs, (unsigned long)nothing);
	return 1;
}
NOKPROBE_SYMBOL(fail);

/* void *__kvmalloc_node_noprof(size_t size, ...): C's kvzalloc() */
static int enter_kvmalloc(struct kprobe *probe, struct pt_regs *regs)
{
	return fail(regs, regs_get_kernel_argument(regs, 0));
}
NOKPROBE_SYMBOL(enter_kvmalloc);

/* void *kvrealloc_node_align_noprof(const void *old, size_t size, ...): KVVec of Rust */
static int enter_kvrealloc(struct kprobe *probe, struct pt_regs *regs)
{
	return fail(regs, regs_get_kernel_argument(regs, 1));
}
NOKPROBE_SYMBOL(enter_kvrealloc);

/* A probe has to have one, or it may not change where the function goes on. */
static void after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe kvmalloc = {
	.symbol_name = "__kvmalloc_node_noprof",
	.pre_handler = enter_kvmalloc,
	.post_handler = after,
};

static struct kprobe kvrealloc = {
	.symbol_name = "kvrealloc_node_align_noprof",
	.pre_handler = enter_kvrealloc,
	.post_handler = after,
};

static struct kprobe *probes[] = { &kvmalloc, &kvrealloc };

static int __init no_memory_init(void)
{
	return register_kprobes(probes, ARRAY_SIZE(probes));
}

static void __exit no_memory_exit(void)
{
	unregister_kprobes(probes, ARRAY_SIZE(probes));
}

module_init(no_memory_init);
module_exit(no_memory_exit);
MODULE_DESCRIPTION("Allocations that fail, for tests");
MODULE_LICENSE("GPL");
