<?php
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What PHP programs do with sysvshm, sysvsem, sysvmsg and shmop, for php.sh: each result on a line of its own, without
 * what differs from run to run (ids, pids, times). A wait that does not end is ended by alarm.
 */

error_reporting(E_ALL);
ini_set('display_errors', 'stderr');
pcntl_alarm(60);

function result(string $what, mixed $value): void
{
	echo "$what = ", var_export($value, true), "\n";
}

/* Forks a child that runs $body; its exit status 0 says that $body has returned true. */
function child(callable $body): int
{
	$pid = pcntl_fork();
	if ($pid < 0)
		exit(1);
	if ($pid)
		return $pid;
	$status = $body() === true ? 0 : 1;
	posix_kill(getmypid(), $status ? SIGABRT : SIGKILL);	/* no destructor of the child's touches the objects */
	exit(1);
}

function ended(string $what, int $pid): void
{
	pcntl_waitpid($pid, $status);
	result("$what has done its part", pcntl_wifsignaled($status) && pcntl_wtermsig($status) === SIGKILL);
}

function shared_memory(): void
{
	$key = ftok(__FILE__, 'm');
	$m = shm_attach($key, 100000, 0600);
	result('shm_put_var', shm_put_var($m, 1, ['a list', 2, [3.5, null]]));
	result('shm_get_var', shm_get_var($m, 1));
	result('shm_has_var', [shm_has_var($m, 1), shm_has_var($m, 2)]);
	ended('a child that writes', child(function () use ($key) {
		$mine = shm_attach($key);
		return shm_get_var($mine, 1)[0] === 'a list' && shm_put_var($mine, 2, str_repeat('x', 50000));
	}));
	result('its variable', md5(shm_get_var($m, 2)));
	result('one that does not fit', @shm_put_var($m, 3, str_repeat('x', 60000)));
	result('shm_remove_var', shm_remove_var($m, 2));
	result('shm_has_var', shm_has_var($m, 2));
	result('shm_remove', shm_remove($m));
	result('shm_get_var when it is removed', shm_get_var($m, 1)[1]);
	result('shm_detach', shm_detach($m));
}

function blocks(): void
{
	$key = ftok(__FILE__, 'b');
	$b = shmop_open($key, 'n', 0640, 5000);
	result('made once more', @shmop_open($key, 'n', 0640, 5000));
	result('shmop_size', shmop_size($b));
	result('shmop_write', shmop_write($b, 'from the parent', 1000));
	$r = shmop_open($key, 'a', 0, 0);
	result('shmop_read', shmop_read($r, 1000, 15));
	try {
		result('written read-only', shmop_write($r, 'x', 0));
	} catch (Error $e) {
		result('written read-only', get_class($e));
	}
	result('shmop_delete', shmop_delete($b));
	result('opened when it is gone', @shmop_open($key, 'a', 0, 0));
}

function semaphores(): void
{
	$m = shm_attach(ftok(__FILE__, 'c'), 10000, 0600);
	$s = sem_get(ftok(__FILE__, 's'), 1, 0600, true);
	$many = sem_get(ftok(__FILE__, 't'), 3);
	$children = [];
	shm_put_var($m, 0, 0);
	for ($i = 0; $i < 4; $i++)
		$children[] = child(function () use ($m, $s) {
			for ($n = 0; $n < 500; $n++) {
				if (!sem_acquire($s))
					return false;
				shm_put_var($m, 0, shm_get_var($m, 0) + 1);
				if (!sem_release($s))
					return false;
			}
			return true;
		});
	foreach ($children as $pid)
		ended('a child that counts', $pid);
	result('counted by four', shm_get_var($m, 0));
	result('three that may enter', [sem_acquire($many, true), sem_acquire($many, true), sem_acquire($many, true)]);
	result('a fourth', sem_acquire($many, true));
	result('sem_release', sem_release($many));
	ended('a child that enters, and dies inside', child(fn () => sem_acquire($many, true)));
	result('after that', sem_acquire($many, true));
	result('not held', @sem_release($s));
	result('sem_remove', [sem_remove($s), sem_remove($many), shm_remove($m)]);
	result('sem_remove once more', @sem_remove($s));
}

function queues(): void
{
	$q = msg_get_queue(ftok(__FILE__, 'q'), 0600);
	result('msg_queue_exists', msg_queue_exists(ftok(__FILE__, 'q')));
	foreach ([5, 1, 3] as $type)
		result("msg_send of type $type", msg_send($q, $type, ['type' => $type], true, true, $error));
	result('of type 3', [msg_receive($q, 3, $type, 1000, $data), $type, $data]);
	result('of at most 4', [msg_receive($q, -4, $type, 1000, $data), $type, $data]);
	result('too long', [@msg_receive($q, 0, $type, 3, $data, false, 0, $error), $error]);
	result('cut', [msg_receive($q, 0, $type, 3, $data, false, MSG_NOERROR), $type, $data]);
	result('none', [msg_receive($q, 0, $type, 100, $data, true, MSG_IPC_NOWAIT, $error), $error === MSG_ENOMSG]);
	$pid = child(function () use ($q) {
		for ($i = 0; $i < 3000; $i++)
			if (!msg_send($q, $i % 7 + 1, $i))
				return false;
		return true;
	});
	for ($i = $sum = 0; $i < 3000 && msg_receive($q, 0, $type, 100, $data); $i++)
		$sum += $data;
	result('sum of 3000', $sum);
	ended('their sender', $pid);
	result('the last pids', [msg_stat_queue($q)['msg_lspid'] === $pid, msg_stat_queue($q)['msg_lrpid'] === getmypid()]);
	result('msg_set_queue', msg_set_queue($q, ['msg_qbytes' => 5000, 'msg_perm.mode' => 0640]));
	$stat = msg_stat_queue($q);
	result('msg_stat_queue', [$stat['msg_qbytes'], $stat['msg_perm.mode'], $stat['msg_qnum']]);
	result('msg_remove_queue', msg_remove_queue($q));
	result('msg_queue_exists', msg_queue_exists(ftok(__FILE__, 'q')));
	result('msg_send when it is gone', [@msg_send($q, 1, 'x', true, true, $error), $error]);
}

shared_memory();
blocks();
semaphores();
queues();
echo "end\n";
