# SPDX-License-Identifier: GPL-2.0
# The front door. Every target is a subcommand of scripts/xtask; settings are
# environment or command line variables (make help lists them).

export KVER KSRC MIRROR CACHE SUITE T PROFILE M LONG OUT KVM

XTASK := cargo run --quiet --locked --package xtask --

.PHONY: help run test bench shell enter tree series mutants test-interrupt clean
help:		; @$(XTASK) --help
run:		; @$(XTASK) run
test:		; @$(XTASK) test
bench:		; @$(XTASK) bench
shell:		; @$(XTASK) shell
enter:		; @$(XTASK) enter
tree:		; @$(XTASK) tree
series:		; @$(XTASK) series
mutants:	; @$(XTASK) mutants
test-interrupt:	; @$(XTASK) test-interrupt
clean:		; @$(XTASK) clean
