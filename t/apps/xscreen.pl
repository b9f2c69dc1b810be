# SPDX-License-Identifier: BSD-2-Clause
#
# xscreen.pl ID FILE: attach the segment that Xvfb -shmem keeps its screen in, read-only, and compare its pixels with
# those of a file of xwd's. Both begin with a header of a length that its first word tells (in its own byte order), and
# with the number of colours. Exit status 0 if the pixels are the same.

use strict;
use warnings;
use IPC::SysV qw(shmat shmdt memread memwrite SHM_RDONLY);

my ($id, $file) = @ARGV;

# Where the pixels are, and how many bytes; the header's words are of 32 bits.
sub layout {
	my ($dump) = @_;
	my $order = unpack('N', substr $dump, 4, 4) == 7 ? 'N' : 'V';
	my ($header_size, $height, $line, $colours) = (unpack "${order}25", $dump)[0, 5, 12, 19];

	return ($header_size + 12 * $colours, $height * $line);
}

my $at = shmat($id, undef, SHM_RDONLY) // die "shmat $id: $!\n";
my ($memory, $dump) = ('', '');
memread $at, $memory, 0, 100 or die "cannot read the segment: $!\n";
my ($begin, $bytes) = layout($memory);
memread $at, $memory, $begin, $bytes or die "cannot read the segment: $!\n";
open my $in, '<:raw', $file or die "$file: $!\n";
read $in, $dump, -s $in;

($begin, $bytes) = layout($dump);
my $pixels = substr $dump, $begin, $bytes;
die sprintf "%d bytes of pixels in the segment, %d in $file\n", length $memory, length $pixels
	if length $memory != length $pixels || !length $memory;
die "the pixels differ\n" if $memory ne $pixels;
my %seen = map { $_ => 1 } unpack 'V*', $memory;
die "all pixels are alike\n" if keys %seen < 2;

# Writing into it must end in SIGSEGV.
my $pid = fork // die "fork: $!\n";
if (!$pid) {
	memwrite $at, 'x', 0, 1;
	exit 0;
}
waitpid $pid, 0;
die "the segment could be written, status $?\n" if ($? & 127) != 11;
defined shmdt $at or die "shmdt: $!\n";
printf "%d bytes\n", length $memory;
