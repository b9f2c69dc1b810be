# SPDX-License-Identifier: BSD-2-Clause
#
# damage.pl SEED: in the namespace's files of the current directory, words overwritten at random: near the beginning,
# anywhere, and most often where something is. The magic number and the version stay.
use strict;
use warnings;

srand $ARGV[0];

sub word {
	my $r = rand;
	return int rand 20 if $r < 0.2;
	return int rand 70000 if $r < 0.5;
	return ~0 - int rand 3 if $r < 0.6;
	return (int rand 2**32) << 32 | int rand 70000 if $r < 0.8;
	return int rand 2**53;
}

sub words_in_use {	# offsets of words that are not 0
	my ($file) = @_;
	my @used;
	for (my $at = 0; defined($at = sysseek $file, $at, 3); $at += 4096) {	# SEEK_DATA
		sysread $file, my $page, 4096 or last;
		my @w = unpack "Q*", $page;
		push @used, grep { $_ >= 16 } map { $at + 8 * $_ } grep { $w[$_] } 0 .. $#w;
	}
	return @used;
}

for my $name (grep { -f && -s } glob "registry slots sem-* msg-* slot-*") {
	next if rand() < 0.5;
	open my $file, "+<", $name or die "$name: $!";
	my ($size, @used) = (-s $file, words_in_use($file));
	for (1 .. 1 + rand 20) {
		my $r = rand;
		my $at = $r < 0.3 ? 16 + int rand 1024 : $r < 0.5 || !@used ? int rand($size - 8) : $used[rand @used];
		sysseek $file, $at < 16 ? 16 : $at & ~7, 0;
		syswrite $file, pack "Q", word();
	}
}
