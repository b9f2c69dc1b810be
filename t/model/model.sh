#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Checks the model of the control areas' protocol with spin, and prints TAP. Each line of `variants` is a model with its
# definitions: spin must search all of its states and find nothing, or, for a mutant (M_...), find a violated assertion.
# A search that was cut short (depth, memory, time) is a failure either way.
#
#	model.sh		what make check runs
#	model.sh --all		also the variants that take minutes
#	model.sh --trace MUTANT	a shortest counterexample to a mutant, in words
set -u
here=$(cd "$(dirname "$0")" && pwd)
limit=${T_LIMIT:-600}	# seconds for one search

# check|loop|all|mutant  model  definitions  promise; loop: no run goes on for ever; all: only with --all
variants() {
	cat <<-'END'
	END
}
