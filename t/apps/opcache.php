<?php
/* SPDX-License-Identifier: BSD-2-Clause */
/* The page that php.sh's web server serves: who served it, what eight included files added up to, and opcache's counts. */

$sum = 0;
for ($i = 1; $i <= 8; $i++)
	$sum += include __DIR__ . "/part$i.inc";
usleep(500);	/* so that other workers get some of the requests */
$s = opcache_get_status(true);
echo json_encode([
	'pid' => getmypid(),
	'sum' => $sum,
	'scripts' => count($s['scripts']),
	'compiled' => $s['opcache_statistics']['misses'],
	'found' => $s['opcache_statistics']['hits'],
]);
