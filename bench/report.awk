# SPDX-License-Identifier: BSD-2-Clause
#
# Makes the report of run.sh and apps.sh; plain awk. First file: name and description of each case; second: case, side,
# time (or "failed") of each sample. Variables: json, rounds, machine; unit (ns), ms, the length of a sample, where it
# has one. Exit status 1 if a sample failed.

function sort(a, n,    i, j, t)
{
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && a[j - 1] > a[j]; j--) {
			t = a[j]
			a[j] = a[j - 1]
			a[j - 1] = t
		}
}

function summarize(key,    a, i, n)
{
	n = count[key]
	for (i = 1; i <= n; i++)
		a[i] = sample[key, i]
	sort(a, n)
	low[key] = a[1]
	high[key] = a[n]
	median[key] = n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
}

function has(name, side)
{
	return (name SUBSEP side) in median
}

function ours(name)
{
	return median[name, "ours"]
}

function ratio(name)
{
	return median[name, "kernel"] / ours(name)
}

function figure(ns)
{
	return sprintf(ns < 1000 ? "%.1f" : "%.0f", ns)
}

# ---- targets: each compares the figure as it is printed ----

function target(what, value, relation, limit, unit)
{
	value = sprintf("%.2f", value) + 0
	targets++
	target_what[targets] = what
	target_value[targets] = value
	target_wanted[targets] = relation " " limit
	target_unit[targets] = unit
	target_reached[targets] = relation == ">=" ? value >= limit : value <= limit
}

# No slower; a median that is slower, but in ranges that overlap, decides nothing.
function target_no_slower(name)
{
	if (!has(name, "kernel") || !has(name, "ours"))
		return
	target_ratio(name, 1)
	target_open[targets] = !target_reached[targets] && low[name, "ours"] <= high[name, "kernel"]
}

function verdict(i)
{
	return target_reached[i] ? "reached" : target_open[i] ? "open: the ranges overlap" : "NOT REACHED"
}

function target_ratio(name, limit)
{
	if (has(name, "kernel") && has(name, "ours"))
		target(what[name] ", kernel/ours", ratio(name), ">=", limit, "")
}

function target_time(name, us)
{
	if (has(name, "ours"))
		target(what[name], ours(name) / 1000, "<=", us, " us")
}

function judge()
{
	target_ratio("fakeroot", 1.2)
	target_ratio("buffer", 0.95)
	target_ratio("x11perf", 0.95)
	target_ratio("pgbench", 0.95)
	target_ratio("semop", 10)
	target_ratio("semop-undo", 10)
	target_ratio("msg-64", 5)
	target_no_slower("shmat")
	target_no_slower("shmat-touch")
	target_time("create-sem", 100)
	target_time("create-msg", 100)
	target_time("create-shm", 100)
	target_time("create-shm-1g", 100)
	if (has("semop-10-sets", "ours") && has("semop-10-of-32000", "ours"))
		target("semop, 10 of 32,000 sets / 10 of 10", ours("semop-10-of-32000") / ours("semop-10-sets"), "<=", 1.5, "")
	if (has("semop-10-sets", "ours") && has("semop-32000-sets", "ours"))
		target("semop, each of 32,000 sets at random / of 10", ours("semop-32000-sets") / ours("semop-10-sets"), "<=", 1.5, "")
}

# ---- the table ----

function cells(name, side)
{
	if (!has(name, side))
		return sprintf("%10s %21s", failed[name, side] ? "failed" : "-", "")
	return sprintf("%10s %21s", figure(median[name, side]), figure(low[name, side]) ".." figure(high[name, side]))
}

function print_table(    i, name)
{
	printf "%s; %d rounds%s; median and range in %s\n\n", machine, rounds, ms ? " of " ms " ms" : "", unit
	printf "%-40s %10s %21s %10s %21s %7s\n", "case", "kernel", "range", "ours", "range", "ratio"
	for (i = 1; i <= cases; i++) {
		name = order[i]
		if (!(name in seen))
			continue
		printf "%-40s %s %s", what[name], cells(name, "kernel"), cells(name, "ours")
		printf "%8s\n", has(name, "kernel") && has(name, "ours") ? sprintf("%.2f", ratio(name)) : "-"
	}
}

function print_targets(    i)
{
	if (targets)
		print "\ntargets"
	for (i = 1; i <= targets; i++)
		printf "%-54s %9.2f%-3s  wanted %-7s %s\n", target_what[i], target_value[i], target_unit[i],
			target_wanted[i], verdict(i)
}

# ---- JSON ----

function json_side(name, side)
{
	if (!has(name, side))
		return "null"
	return sprintf("{\"median\": %.1f, \"min\": %.1f, \"max\": %.1f, \"samples\": %d}", median[name, side],
		low[name, side], high[name, side], count[name, side])
}

function print_json(    i, name, sep)
{
	printf "{\"machine\": \"%s\", \"rounds\": %d, \"ms\": %d, \"unit\": \"%s\", \"cases\": [", machine, rounds, ms,
		unit
	for (i = 1; i <= cases; i++) {
		name = order[i]
		if (!(name in seen))
			continue
		printf "%s\n  {\"name\": \"%s\", \"what\": \"%s\", ", sep, name, what[name]
		printf "\"kernel\": %s, \"ours\": %s, ", json_side(name, "kernel"), json_side(name, "ours")
		printf "\"ratio\": %s}",
			has(name, "kernel") && has(name, "ours") ? sprintf("%.3f", ratio(name)) : "null"
		sep = ","
	}
	printf "\n], \"targets\": ["
	sep = ""
	for (i = 1; i <= targets; i++) {
		printf "%s\n  {\"what\": \"%s\", \"value\": %.2f, \"wanted\": \"%s%s\", \"reached\": %s}", sep,
			target_what[i], target_value[i], target_wanted[i], target_unit[i],
			target_reached[i] ? "true" : target_open[i] ? "null" : "false"
		sep = ","
	}
	print "\n]}"
}

BEGIN {
	unit = unit ? unit : "ns"
}

FNR == NR {
	order[++cases] = $1
	what[$1] = $2
	next
}

{
	seen[$1] = 1
	if ($3 == "failed") {
		failed[$1, $2]++
		failures++
	} else {
		sample[$1, $2, ++count[$1, $2]] = $3 + 0
	}
}

END {
	for (key in count)
		summarize(key)
	judge()
	if (json)
		print_json()
	else {
		print_table()
		print_targets()
	}
	exit failures > 0
}
