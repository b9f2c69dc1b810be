<?php
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * web.php PORT TIMES: ask the web server of php.sh for its page so many times, eight at once, and print each answer on a
 * line of its own. Exit status 0 if every answer came.
 */

[, $port, $times] = $argv;
for ($done = 0; $done < $times; $done += count($asked)) {
	$asked = [];
	while (count($asked) < 8 && $done + count($asked) < $times) {
		$s = @stream_socket_client("tcp://127.0.0.1:$port", $errno, $error, 10);
		if (!$s || !fwrite($s, "GET / HTTP/1.0\r\n\r\n")) {
			fwrite(STDERR, "port $port: $error\n");
			exit(1);
		}
		stream_set_timeout($s, 20);
		$asked[] = $s;
	}
	foreach ($asked as $s) {
		[$head, $body] = explode("\r\n\r\n", stream_get_contents($s) . "\r\n\r\n");
		if (!str_contains($head, ' 200 OK')) {
			fwrite(STDERR, "port $port answers: $head\n");
			exit(1);
		}
		echo $body, "\n";
	}
}
