# SPDX-License-Identifier: GPL-2.0
#
# The module, and the test machine around it. Kbuild is what the kernel's build system reads.
#
## make              ghcb_rs.ko for a kernel of Debian's (see scripts/kernels), in a Debian root of its own
## make KDIR=DIR     ghcb_rs.ko for the prepared kernel tree DIR, with this machine's own tools; needs no root rights
## make demo         boot Debian's kernel as an SEV-ES and as an SEV-SNP guest on an emulated host (GUEST=sev-es, sev-snp: one)
## make test         all tests
## make check        the part of it that needs no emulated host: lints, and the tests of the pure code
## make coverage     how much of the pure code its tests reach
## make fuzz         the fuzz targets, a minute each, under AddressSanitizer
## make emulator-test each behaviour of the emulated hardware that is relied on, without ghcb_rs
## make emulator-soak whole encrypted guests on it, 30 hosts with three at once and 30 with one; about an hour
## make soak         hostile guests: a million VMGEXITs from a seed (COUNT=, SECONDS_MAX=, SEED=, GUEST=, HANDLER=observe)
## make lifecycle    the module in and out, patched and unpatched, a thousand times (COUNT=)
## make mutants      deliberate faults of the handler: which test catches which
## make kselftests   the kernel's KVM selftests: the same results with the module as without
## make bench        what a VMGEXIT costs by C and by Rust, in instructions
## make changeover   remove and insert the module each second while two guests boot (GUEST=sev-es, sev-snp)
## make fairness     a limit on SEV-SNP guests' messages to the secure processor: they get their answers in the end
## make kernels      each kernel of scripts/kernels: the demo, and the tests on emulated hosts
## make debug-test   the tests on a kernel that finds fault; the first time, it is built, for half an hour
## make kit          all that is needed to try it on a host with the processor for it, in ghcb-kit-VERSION.tar.xz, with modules
##                   for each kernel of scripts/kernels (5 GB more in the cache), or for that of KERNEL=
## make kit-test     the kit on emulated hosts, some of which differ on purpose (SCALE=)
## make deb          Debian packages of the module, for DKMS, and of the tools, in deb/
## make operator-test an operator's day: packages, Secure Boot, ghcb-check on hosts that lack one thing, ghcbstat beside guests
## make vm           a shell on the emulated host
## make update       next time, look for newer packages
## make clean        remove what a build leaves in the checkout
## make distclean    remove the cache too
##
## KERNEL=RELEASE, with any of them: that kernel of Debian's, not the newest in scripts/kernels.
##
## All but `make KDIR=` need root rights and, the first time, the network. What they build is kept in
## $GHCB_RS_CACHE (default: ~/.cache/ghcb_rs), about 5 GB.

.NOTPARALLEL:
.DEFAULT_GOAL := all

ifdef KDIR
objtool := $(firstword $(wildcard $(addsuffix /tools/objtool/objtool,$(KDIR) $(KDIR)/../build)))

all:
	@scripts/kernel-fits $(KDIR) $(KVM_HEADERS)
	@rm -f ghcb_rs.ko # objtool takes a module that it has not seen
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules
	$(objtool) klp post-link ghcb_rs.ko
else
all:
	@scripts/setup root kernel module
endif

demo test debug-test vm changeover fairness bench soak lifecycle mutants kselftests emulator-test kit kit-test operator-test deb:
	@scripts/$@

kernels:
	@scripts/try-kernels

emulator-soak:
	@emulator/soak

check coverage fuzz:
	@scripts/in-root scripts/$@

# Newer packages: the kernel's, QEMU's, the compilers'.
update:
	@scripts/cache update

# What a build leaves in the checkout; the cache stays.
clean:
	@find . -path ./.git -prune -o -type f \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' \
		-o -name '.*.cmd' -o -name '.*.d' -o -name '*_generated.rs' -o -name features_generated -o -name '*.rmeta' -o -name '.*.checked' \
		-o -name Module.symvers -o -name modules.order \) -exec rm -f {} +
	@rm -rf target selftests/target selftests/out fuzz/target tools/target deb ghcb-kit-*.tar.xz

distclean: clean
	@scripts/cache remove

help:
	@sed -n 's/^## \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

.PHONY: all demo test debug-test kernels kit kit-test operator-test deb vm changeover fairness bench soak lifecycle mutants kselftests emulator-test emulator-soak check coverage fuzz update clean distclean help
