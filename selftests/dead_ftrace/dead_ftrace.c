// SPDX-License-Identifier: GPL-2.0
/*
 * Shuts ftrace down, as ftrace_bug() does when code is not what ftrace expects. Afterwards no function can be traced, and
 * none that is can be restored: for a host that is about to end.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

/* As objtool wants livepatch relocations: place, symbol, type. See tools/objtool/klp-post-link.c. */
#define SYMBOL(name) "\".klp.sym.vmlinux." #name ",0\""
#define SLOT(name)							\
	asm(".pushsection .data\n\t.p2align 3\n"			\
	    ".weak " SYMBOL(name) "\n"					\
	    ".globl the_" #name "\nthe_" #name ":\n"			\
	    ".Lslot_" #name ": .quad " SYMBOL(name) "\n"		\
	    ".popsection\n"						\
	    ".pushsection __klp_relocs.vmlinux, \"a\", @progbits\n"	\
	    ".p2align 3\n"						\
	    ".quad .Lslot_" #name "\n\t.quad " SYMBOL(name) "\n"	\
	    ".long 1, 0\n"						\
	    ".popsection\n")

SLOT(ftrace_kill);
SLOT(ftrace_disabled);
SLOT(ftrace_enabled);

extern void (*the_ftrace_kill)(void);
extern int *the_ftrace_disabled, *the_ftrace_enabled;

/* kCFI does not take ftrace_kill() for a function of this type. */
static int __init __nocfi dead_ftrace_init(void)
{
	the_ftrace_kill();
	return 0;
}

/* What ftrace_kill() has done, so that it can be tried a second time. Good only if nobody has used ftrace meanwhile. */
static void __exit dead_ftrace_exit(void)
{
	WRITE_ONCE(*the_ftrace_disabled, 0);
	WRITE_ONCE(*the_ftrace_enabled, 1);
}

module_init(dead_ftrace_init);
module_exit(dead_ftrace_exit);
MODULE_DESCRIPTION("Shuts ftrace down, for tests");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
