# SPDX-License-Identifier: BSD-2-Clause
#
# What Perl programs do with System V IPC, for perl.sh: each call's result on a line of its own, without what differs
# from run to run (ids, pids, times). A wait that does not end is ended by alarm.

use strict;
use warnings;
use IPC::Msg;
use IPC::Semaphore;
use IPC::SharedMem;
use IPC::SysV qw(:all);

$| = 1;
alarm 60;

sub result {
	my ($what, $value) = @_;

	$value =~ s/[^ -~]/./g;
	print "$what = $value\n";
}

# A call that returns something true, and when it fails, something false and errno.
sub call {
	my ($what, $value) = @_;
	my ($errno) = sort grep { $!{$_} } keys %!;

	result($what, $value || $errno // 'false, and no errno');
}

sub child(&) {
	my ($code) = @_;
	my $pid = fork // die "fork: $!";

	return $pid if $pid;
	$code->();
	exit 0;
}

sub ended {
	my ($what, $pid) = @_;

	waitpid $pid, 0;
	result("exit status of $what", $?);
}

# ---- the built-in calls ----

sub shared_memory {
	my $id = shmget IPC_PRIVATE, 65536, 0600 | IPC_CREAT;
	my ($buffer, $stat) = ('', '');

	call('shmget', defined $id && 'an id');
	call('shmwrite', shmwrite $id, 'from the parent', 1000, 20);
	ended('a child that writes', child { shmwrite $id, 'from the child', 2000, 14 or exit 1 });
	call('shmread', shmread $id, $buffer, 1000, 20);
	result('read', $buffer);
	shmread $id, $buffer, 2000, 14;
	result('read', $buffer);
	call('shmread past the end', scalar shmread $id, $buffer, 65530, 10);
	call('IPC_STAT', shmctl $id, IPC_STAT, $stat);
	result('length of its structure', length $stat);
	call('IPC_RMID', shmctl $id, IPC_RMID, 0);
	call('shmread when it is gone', scalar shmread $id, $buffer, 0, 1);
}

sub semaphores {
	my $key = 0x7065726c;
	my $id = semget $key, 3, 0600 | IPC_CREAT | IPC_EXCL;
	my $all = '';

	call('semget', defined $id && 'an id');
	call('semget once more', scalar semget $key, 3, 0600 | IPC_CREAT | IPC_EXCL);
	call('semget of four', scalar semget $key, 4, 0600);
	call('SETALL', semctl $id, 0, SETALL, pack 's*', 3, 0, 7);
	call('GETALL', semctl $id, 0, GETALL, $all);
	result('values', join ' ', unpack 's*', $all);
	call('semop', semop $id, pack 's3 s3', 0, -2, 0, 2, 1, 0);
	call('semop without waiting', scalar semop $id, pack 's3', 1, -1, IPC_NOWAIT);
	call("GETVAL of $_", semctl $id, $_, GETVAL, 0) for 0 .. 2;
	my $pid = child { semop $id, pack 's3', 1, -1, 0 or exit 1 };
	select undef, undef, undef, 0.01 until semctl($id, 1, GETNCNT, 0) == 1;
	call('GETNCNT', semctl $id, 1, GETNCNT, 0);
	call('semop that lets it go', semop $id, pack 's3', 1, 1, 0);
	ended('the child that waited', $pid);
	result('the pid is its', semctl($id, 1, GETPID, 0) == $pid ? 'yes' : 'no');
	ended('one with an adjustment', child { semop $id, pack 's3', 2, -5, SEM_UNDO or exit 1 });
	call('value after its end', semctl $id, 2, GETVAL, 0);
	$pid = child { semop($id, pack 's3', 1, -1, 0) ? exit 1 : exit($!{EIDRM} ? 0 : 2) };
	select undef, undef, undef, 0.01 until semctl($id, 1, GETNCNT, 0) == 1;
	call('IPC_RMID', semctl $id, 0, IPC_RMID, 0);
	ended('one that waited then', $pid);
}

sub queues {
	my $id = msgget IPC_PRIVATE, 0600;
	my ($got, $sum) = ('', 0);

	call('msgget', defined $id && 'an id');
	call("msgsnd of type $_", msgsnd $id, pack('l! a*', $_, "message $_"), 0) for 5, 1, 3;
	call('msgrcv of type 3', msgrcv $id, $got, 100, 3, 0);
	result('received', join ' ', unpack 'l! a*', $got);
	call('msgrcv of at most 4', msgrcv $id, $got, 100, -4, 0);
	result('received', join ' ', unpack 'l! a*', $got);
	call('msgrcv of 3 bytes', scalar msgrcv $id, $got, 3, 0, 0);
	call('msgrcv of 3 bytes, cut', msgrcv $id, $got, 3, 0, MSG_NOERROR);
	result('received', join ' ', unpack 'l! a*', $got);
	call('msgrcv of none', scalar msgrcv $id, $got, 100, 0, IPC_NOWAIT);
	my $pid = child { msgsnd $id, pack('l! a*', $_ % 7 + 1, $_), 0 or exit 1 for 1 .. 5000 };
	for (1 .. 5000) {
		msgrcv $id, $got, 100, 0, 0 or last;
		$sum += (unpack 'l! a*', $got)[1];
	}
	ended('a child that sends 5000', $pid);
	result('sum of what came', $sum);
	$SIG{USR1} = sub { };
	my $parent = $$;
	$pid = child { kill USR1 => $parent while !select undef, undef, undef, 0.02 };
	call('msgrcv, interrupted', scalar msgrcv $id, $got, 100, 0, 0);
	kill KILL => $pid;
	waitpid $pid, 0;
	call('IPC_RMID', msgctl $id, IPC_RMID, 0);
	call('msgsnd when it is gone', scalar msgsnd $id, pack('l! a*', 1, ''), 0);
}

# ---- the modules ----

sub module_functions {
	my $id = shmget IPC_PRIVATE, 5000, 0600;
	my ($at, $got) = (shmat($id, undef, 0), '');

	call('shmat', defined $at && 'an address');
	call('memwrite', memwrite $at, 'written through the module', 100, 26);
	call('memread', memread $at, $got, 100, 26);
	result('read', $got);
	result('shmdt', shmdt $at);
	call('shmdt once more', scalar shmdt $at);
	result('ftok', defined ftok($0, 1) && ftok($0, 1) == ftok($0, 1) ? 'a key' : 'none');
	shmctl $id, IPC_RMID, 0;
}

sub module_objects {
	my $m = IPC::SharedMem->new(IPC_PRIVATE, 300, 0600);
	my $s = IPC::Semaphore->new(IPC_PRIVATE, 4, 0600);
	my $q = IPC::Msg->new(IPC_PRIVATE, 0600);
	my $got;

	call('SharedMem->attach', $m->attach);
	call('SharedMem->write', $m->write('object', 10, 6));
	result('SharedMem->read', $m->read(10, 6));
	result('nattch', $m->stat->nattch);
	result('segsz', $m->stat->segsz);
	call('SharedMem->detach', $m->detach);
	call('SharedMem->remove', $m->remove);
	call('Semaphore->setall', $s->setall(4, 3, 2, 1));
	call('Semaphore->op', $s->op(0, -4, IPC_NOWAIT, 3, 4, 0));
	result('Semaphore->getall', join ' ', $s->getall);
	result('nsems', $s->stat->nsems);
	result('mode', sprintf '%o', $s->stat->mode & 0777);
	result('Semaphore->set', $s->set(mode => 0640));
	result('mode', sprintf '%o', $s->stat->mode & 0777);
	call('Semaphore->remove', $s->remove);
	call('Msg->snd', $q->snd(9, 'by the object'));
	result('qnum', $q->stat->qnum);
	call('Msg->rcv', $q->rcv($got, 100, 9, 0));
	result('received', $got);
	call('Msg->set', $q->set(qbytes => 1000));
	result('qbytes', $q->stat->qbytes);
	call('Msg->remove', $q->remove);
}

shared_memory();
semaphores();
queues();
module_functions();
module_objects();
print "end\n";
