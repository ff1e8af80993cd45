# SPDX-License-Identifier: GPL-2.0
#
# awk -v inherited=FILE -f reports.awk [LOG]: the first line of each report in a kernel's log, behind the name of the test that
# was running, if one was named. Left out are those that the file "inherited" lists.

BEGIN {
	FS = "\t"
	while ((getline line <inherited) > 0)
		if (line !~ /^#/ && split(line, field, "\t") > 1) known[field[1]]
	test = "at boot"
}

{ sub(/\r$/, ""); sub(/^\[ *[0-9.]+\](\[[^]]*\])? /, "") }

/^ghcb_rs: test [0-9]+: / { test = $0; sub(/^.*: /, "", test); next }

/(^|[^A-Z])BUG: |^BUG [a-z]|^WARNING: |UBSAN: |CFI failure at|ODEBUG: |Oops|general protection fault|Kernel panic|kernel BUG at/ ||
/INFO: task .*blocked|rcu: .*(stall|detected)|unreferenced object|list_(add|del) corruption|bad: scheduling|rust_kernel: .*panic/ {
	# What the livepatch core says of its own function, where ftrace was shut down on purpose.
	if (test == "stays_when_ftrace_is_gone" && /kernel\/livepatch\/patch\.c/) next
	for (what in known)
		if (index($0, what)) next
	print test ": " $0
}
