/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleepers: requests in a pending list, performed by whoever makes them possible. N threads take one or two units of
 * a semaphore and give them back, sleeping when there are not enough; a sleep can time out; a thread can be killed
 * at any step, and the others reap it (its request goes, its units return); a handler can interrupt thread 0 at any
 * step, and longjmp away: before the program's part of it runs, the thread's request is withdrawn or its result
 * taken. The handler's own call sleeps on the same request.
 *
 * Held, whenever op is idle: semaphore + undo == START, each undo is what commits made it, the list holds exactly the
 * waiting requests, and without `more` none of them is possible. At each commit: a request is performed once, with
 * the payload that was joined, and none before it in the list is possible; nobody takes units past a possible
 * request. A call returns what its request came to. Everybody who is not killed comes to the end: without a kill
 * nobody relies on the sleeper's once-a-second look; with one, or a longjmp, that look is enough.
 *
 * Abstracted besides what protocol.pml says: a decision (a walk over cells and payloads, then the writing of the
 * descriptor) is two steps, since nothing of it counts unless op has not moved; publish.pml has it finer. Walks are
 * bounded by N links, as the code's must be, for links read while op moves can form a ring. The list has no links
 * backwards, and one kind of request.
 *
 * Mutants: M_WAKE (a woken sleeper takes it that it was performed), M_MORE (no `more` when values change under
 * pending requests), M_FUTEX (sleep without comparing the futex word), M_CASCADE (more is not looked at before
 * taking), M_LOOK (the once-a-second look does not complete a dead thread's operation), M_SETTLE (the wrapper of a
 * handler leaves the thread's request alone).
 */
#ifndef N
#define N 2
#endif
#ifdef SIGNALS
#define PIDS	(N + 2)	/* init, threads, the handler */
#define FRAMES	(N + 1)	/* the handler's has a number of its own */
#else
#define PIDS	(N + 1)
#define FRAMES	N
#endif
#define VAL	0
#define MORE	1
#define HEAD	2
#define TAIL	3
#define STATE(w)	(4 + (w))
#define NEXT(w)		(4 + N + (w))
#define UNDO(w)		(4 + 2 * N + (w))
#define CELLS		(4 + 3 * N)
#define ENTRIES		5

#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef START
#define START 2
#endif
#ifndef VICTIM
#define VICTIM N	/* any */
#endif
#define NEED(w, r)	(1 + (((w) + (r)) & 1))

/* A request's state: what; when over, whether it was performed; and its turn, counted by its thread. */
#define NONE	0
#define WAIT	1
#define DONE	2
#define OVER	3	/* and taken; the result stays until the next request */
#define GOT	4
#define IS(w, what)	((val[STATE(w)] & 3) == (what))
#define BE(w, what)	((val[STATE(w)] & 24) | (what))
#define NEXT_TURN(w)	(((val[STATE(w)] + 8) & 24) | WAIT)
#define HAS_TURN(w, x)	((val[STATE(w)] & 24) == ((x) & 24))

/* What a frame is doing. */
#define TAKE	1
#define GIVE	2
#define CASCADE	3	/* has changed values: until there is no more */
#define NAP	4
#define LOOK	5	/* once a second */
#define SETTLE	6	/* woken, timed out or interrupted: withdraw, or take the result */

/* What a decision came to; those from OPERATE on are operations. */
#define RETURN	1
#define OPERATE	2
#define JOIN	3
#define PERFORM	4
#define CLEAR	5
#define DROP	6	/* a dead thread's request */
#define REAP	7	/* its units */
#define WITHDRAW 8
#define RESULT	9
#define WITHDRAWN 10	/* by somebody else: the same result */

/* Plain memory: the payload, and what only the thread and its handlers see. */
byte want[N];
bool sleeping[N], asleep[N];	/* says so; is in futex_wait */
bool signals[FRAMES];		/* a handler has run since the call began */
bool framed[FRAMES], settled[FRAMES], result[FRAMES];
byte waiting[FRAMES];		/* the state while the frame's request waits */

bool fin[N], jump;
bool lost;	/* a thread was killed, or left its call: only then do sleepers look */
byte held[N], held_all;		/* ghosts: units, requests and results by commits */
bool waits[N], got[FRAMES];
byte wanted[N], frame_of[N];

#define WRITING(s, w)	assert(OP_IS(s, w))
#define UNREAPED(w)	(dead[w] && (val[UNDO(w)] != 0 || IS(w, WAIT)))

inline check()
{
	assert(val[VAL] + held_all == START);
	i = 0;
	do
	:: i < N ->
		assert(val[UNDO(i)] == held[i]);
		assert(IS(i, WAIT) == waits[i]);
		assert(!waits[i] || val[MORE] || want[i] > val[VAL]);
		i++
	:: else -> break
	od;
	i = 0; t = val[HEAD]; p = 0;
	do
	:: t != 0 && i < N -> assert(waits[t - 1]); p = t; t = val[NEXT(t - 1)]; i++
	:: else -> break
	od;
	assert(t == 0 && val[TAIL] == p);
	t = 0;
	do
	:: t < N -> i = i - waits[t]; t++
	:: else -> break
	od;
	assert(i == 0);
	t = 0; p = 0
}

mtype = { value, more, head, tail, state, next, undo };
#define CELL_KIND(c)	(c == VAL -> value : (c == MORE -> more : (c == HEAD -> head : (c == TAIL -> tail : \
			(c < NEXT(0) -> state : (c < UNDO(0) -> next : undo))))))
#define CELL_OF(c)	(c < 4 -> 0 : (c - 4) % N)

#include "protocol.pml"

/* Entries that take request t - 1, which follows p - 1 or is the first, out of the list. */
inline unlink(me)
{
	if
	:: p -> add(me, NEXT(p - 1), val[NEXT(t - 1)])
	:: else -> add(me, HEAD, val[NEXT(t - 1)])
	fi;
	if
	:: val[TAIL] == t -> add(me, TAIL, p)
	:: else
	fi
}

/* t - 1 is the first request from the head for which cond(t - 1) holds, or t is 0; p - 1 is before it. */
#define FIND(cond)								\
	i = 0; p = 0; t = val[HEAD];						\
	do									\
	:: t != 0 && i < N && !(cond) -> p = t; t = val[NEXT(t - 1)]; i++	\
	:: else -> break							\
	od;									\
	if									\
	:: i == N -> t = 0; p = 0						\
	:: else									\
	fi

/* Entries that end w's request. */
inline end_request(by, w, to)
{
	add(by, STATE(w), to);
	FIND(t == SELF(w));
	if
	:: t != 0 -> unlink(by)
	:: else
	fi
}

/* Entries for the semaphore and w's undo; the semaphore as it was seen. */
inline move(by, w, to, owes)
{
	desc[by].e[0].cell = VAL; desc[by].e[0].otag = vt; desc[by].e[0].oval = v; desc[by].e[0].new = to;
	desc[by].n = 1;
	add(by, UNDO(w), owes)
}

#ifdef M_MORE
#define SETS_MORE	false
#else
#define SETS_MORE	(val[HEAD] != 0)
#endif
#ifdef M_CASCADE
#define CASCADES	(m && mode != TAKE)
#else
#define CASCADES	m
#endif

/* The first dead thread that somebody must reap, or N. */
inline find_dead()
{
	i = 0;
#ifdef KILLS
	do
	:: i < N && !UNREAPED(i) -> i++
	:: else -> break
	od
#else
	i = N
#endif
}

inline join(me)
{
	what = JOIN;
	want[me] = need;
	waiting[f] = NEXT_TURN(me);
	add(me, STATE(me), waiting[f]);
	add(me, NEXT(me), 0);
	if
	:: val[TAIL] -> add(me, NEXT(val[TAIL] - 1), SELF(me))
	:: else -> add(me, HEAD, SELF(me))
	fi;
	add(me, TAIL, SELF(me))
}

/* The call itself, in a state without more and without dead. */
inline plan(me)
{
	if
	:: mode == CASCADE || mode == LOOK -> what = RETURN
	:: mode == GIVE -> what = OPERATE; move(me, me, v + need, val[UNDO(me)] - need)
	:: mode == TAKE && v >= need -> what = OPERATE; move(me, me, v - need, val[UNDO(me)] + need)
	:: mode == TAKE && v < need && signals[f] -> what = RETURN	/* EINTR */
	:: else -> join(me)
	fi;
	if
	:: what == OPERATE && SETS_MORE -> add(me, MORE, 1)
	:: else
	fi
}

/* One step of the cascade. */
inline step(me)
{
	FIND(want[t - 1] <= v);
	if
	:: t != 0 && dead[t - 1] -> what = DROP; who = t - 1; add(me, STATE(who), BE(who, NONE)); unlink(me)
	:: t != 0 && !dead[t - 1] ->
		what = PERFORM; who = t - 1;
		move(me, who, v - want[who], val[UNDO(who)] + want[who]);
		add(me, STATE(who), BE(who, DONE));
		unlink(me)
	:: else -> what = CLEAR; add(me, MORE, 0)
	fi
}

/*
 * Withdraw, or take the result, which stays in the state: whoever comes second, the frame or the handler that
 * interrupts it, finds it there. A frame that has not joined is left alone: to begin has made its commit fail.
 */
inline settle(me)
{
	if
	:: waiting[f] == 0 || !HAS_TURN(me, waiting[f]) -> what = RETURN
	:: waiting[f] && val[STATE(me)] == waiting[f] -> what = WITHDRAW; end_request(me, me, BE(me, OVER))
	:: waiting[f] && HAS_TURN(me, waiting[f]) && IS(me, DONE) ->
		what = RESULT;
		add(me, STATE(me), BE(me, OVER | GOT))
	:: else -> what = (val[STATE(me)] & GOT -> RESULT : WITHDRAWN)
	fi
}

/* Entries for what a dead thread has left. */
inline reap(me)
{
	who = i;
	if
	:: IS(who, WAIT) -> what = DROP; end_request(me, who, BE(who, NONE))
	:: else ->
		what = REAP;
		move(me, who, v + val[UNDO(who)], 0);
		if
		:: SETS_MORE -> add(me, MORE, 1)
		:: else
		fi
	fi
}

/* What to do in the state seen, and the descriptor for it. */
inline decide(me)
{
	DESC_FORGET(me); desc[me].n = 0;
	if
	:: mode == SETTLE && settled[f] -> what = RETURN
	:: mode == SETTLE && !settled[f] -> settle(me)
	:: else ->
		find_dead();
		if
		:: CASCADES -> step(me)
		:: !CASCADES && i < N -> reap(me)
		:: else -> plan(me)
		fi
	fi;
	i = 0; p = 0; t = 0
}

/* For traces: what is committed, and for whom or how many. */
mtype = { gives, takes, joins, performs, clears_more, drops, reaps, withdraws, takes_result, is_withdrawn };
#define NAME(w)									\
	(w == OPERATE -> (mode == TAKE -> takes : gives) : (w == JOIN -> joins :	\
	(w == PERFORM -> performs : (w == CLEAR -> clears_more : (w == DROP -> drops :	\
	(w == REAP -> reaps : (w == WITHDRAW -> withdraws :				\
	(w == RESULT -> takes_result : is_withdrawn))))))))
#define OBJECT(w)	(w == OPERATE || w == JOIN -> need : (w == PERFORM || w == DROP || w == REAP -> who : me))

/* The ghosts follow each commit. */
inline account(me)
{
	printf("%e %d commits operation %d: %e %d\n", BY, s, NAME(what), OBJECT(what));
	if
	:: what == OPERATE && mode == TAKE ->
		FIND(want[t - 1] <= val[VAL]);
		assert(t == 0);
		held[me] = held[me] + need; held_all = held_all + need
	:: what == OPERATE && mode == GIVE -> held[me] = held[me] - need; held_all = held_all - need
	:: what == JOIN -> waits[me] = true; wanted[me] = need; frame_of[me] = f
	:: what == PERFORM ->
		assert(waits[who] && want[who] == wanted[who] && want[who] <= val[VAL]);
		FIND(want[t - 1] <= val[VAL]);
		assert(t == SELF(who));
		waits[who] = false; wanted[who] = 0; got[frame_of[who]] = true; frame_of[who] = 0;
		held[who] = held[who] + want[who]; held_all = held_all + want[who]
	:: what == WITHDRAW || what == DROP ->
		who = (what == WITHDRAW -> me : who);
		assert(waits[who]);
		waits[who] = false; wanted[who] = 0; frame_of[who] = 0
	:: what == REAP -> held_all = held_all - held[who]; held[who] = 0
	:: else
	fi;
	i = 0; p = 0; t = 0
}

/* After the commit: what the frame is at next, when the operation is complete. */
inline next_mode()
{
	if
	:: what == OPERATE -> took = (mode == TAKE); mode = CASCADE; what = 0
	:: what == JOIN -> mode = NAP; what = 0
	:: what == CLEAR || what == REAP || what == DROP -> who = 0; what = 0
	:: what == WITHDRAW || what == WITHDRAWN -> who = 0
	:: what == PERFORM || what == RESULT
	fi
}

/* A thread's script: in each round take some, and give back what it has. A handler takes one and gives it back. */
inline next_call(me)
{
	if
	:: !h && held[me] -> need = held[me]; mode = GIVE
	:: h && took -> mode = GIVE
	:: !h && !held[me] && round < ROUNDS -> need = NEED(me, round); round++; mode = TAKE; framed[f] = true
	:: !h && !held[me] && round == ROUNDS -> need = 0; mode = 0; fin[me] = true
	:: h && !took && round == 0 -> need = 1; round++; mode = TAKE; f = N; framed[f] = true
	:: else -> need = 0; mode = 0
	fi;
	took = false
}

inline forget_frame()
{
	framed[f] = false; signals[f] = false; settled[f] = false; result[f] = false; got[f] = false; waiting[f] = 0
}

/* The end of a call, or in a handler of the wrapper's part. */
inline finished(me)
{
	if
	:: h && f == me -> framed[f] = false
	:: else ->
		if
		:: mode == SETTLE || mode == TAKE -> assert(result[f] == got[f]); took = result[f]
		:: else
		fi;
		if
		:: mode != LOOK -> forget_frame()
		:: else
		fi
	fi;
	if
	:: mode == LOOK -> mode = NAP
	:: else -> next_call(me)
	fi;
	what = 0
}

/* What a dead thread may have left for a sleeper's once-a-second look. */
#if N > 2
#define UNREAPED_ANY	(UNREAPED(0) || UNREAPED(1) || UNREAPED(2))
#else
#define UNREAPED_ANY	(UNREAPED(0) || UNREAPED(1))
#endif
#ifdef M_LOOK
#define LEFT(me)	(val[MORE] || val[STATE(me)] != waiting[f] || UNREAPED_ANY)
#else
#define LEFT(me)	(opwho != 0 || val[MORE] || val[STATE(me)] != waiting[f] || UNREAPED_ANY)
#endif
#ifdef M_FUTEX
#define WAITS(me)	true
#else
#define WAITS(me)	(!settled[f] && val[STATE(me)] == waiting[f])
#endif
#ifdef M_WAKE
#define WOKEN(me)	settled[f] = true; result[f] = true
#else
#define WOKEN(me)	skip
#endif
#ifdef COARSE
#define LOOK_AND_DECIDE(me)	d_step { v = val[VAL]; vt = TAG(VAL); m = val[MORE]; decide(me); v = 0; vt = 0; m = 0 }
#else
#define LOOK_AND_DECIDE(me)					\
	d_step { v = val[VAL]; vt = TAG(VAL); m = val[MORE] }	\
	d_step { decide(me); v = 0; vt = 0; m = 0 }
#endif

#define AT_WORK	(mode != 0 && mode != NAP && what == 0)

inline run_frame(me)
{
	do
	:: atomic { AT_WORK && opwho != 0 -> s = SEQ; x = opwho; printf("%e %d sees operation %d\n", BY, s) }
	   help(s, x)
	:: d_step { AT_WORK && opwho == 0 && begun[me] -> SEQ_NEXT; begun[me] = false }
	:: atomic { AT_WORK && opwho == 0 && !begun[me] -> s = SEQ; begun[me] = true }
	   LOOK_AND_DECIDE(me);
	   if
	   :: d_step { what == RETURN -> begun[me] = false; SEQ_FORGET; finished(me) }
	   :: d_step {
		what >= OPERATE && !OP_IS(s, 0) ->
		DESC_FORGET(me); begun[me] = false; what = 0; who = 0; SEQ_FORGET
	      }
	   :: d_step {
		what >= OPERATE && OP_IS(s, 0) ->
		begun[me] = false; opwho = SELF(me); account(me); next_mode()
	      }
	      help(s, SELF(me))
	   fi
	/* the operation is complete */
	:: d_step {
		what == PERFORM ->
		printf("%e %d wakes %d\n", BY, who);
		asleep[who] = (sleeping[who] -> false : asleep[who]);
		who = 0; what = 0
	   }
	:: d_step { what >= WITHDRAW -> result[f] = (what == RESULT); settled[f] = true; what = 0 }
	/* sleep */
	:: d_step { mode == NAP && !sleeping[me] -> sleeping[me] = true }
	:: d_step { mode == NAP && sleeping[me] && !WAITS(me) -> sleeping[me] = false; mode = SETTLE }
	:: atomic { mode == NAP && sleeping[me] && WAITS(me) -> printf("%e %d falls asleep\n", BY); asleep[me] = true }
	   if
	   :: d_step { !asleep[me] -> printf("%e %d wakes up\n", BY); WOKEN(me) }
	   :: d_step { asleep[me] && lost && LEFT(me) -> asleep[me] = false; mode = LOOK }
	   :: d_step { asleep[me] && h -> asleep[me] = false; sleeping[me] = false; mode = SETTLE }
	   fi
#ifdef TIMEOUTS
	/* after any time: its next step can be long in coming */
	:: d_step { mode == NAP && sleeping[me] && WAITS(me) -> sleeping[me] = false; mode = SETTLE }
#endif
	:: mode == 0 -> break
	od
}

/* Where a thread goes on after a handler's longjmp: with its script. */
inline forgotten(me)
{
	mode = 0; what = 0; who = 0; v = 0; vt = 0; m = 0; i = 0; took = false; sleeping[me] = false;
	DESC_FORGET(me);
	forget_frame();
	next_call(me)
}

/* A thread, or (h) the handler that interrupts it once. */
proctype Frame(byte me, frame; bool h) provided (!dead[me] && !inh[frame])
{
	FRAME;
	byte mode, need, v, vt, m, what, who, t, p, i, round, f;
	bool took;

	d_step {
		f = me;
		if
		:: !h -> next_call(me)
		:: else
		fi
	}
#ifdef SIGNALS
	if
	:: atomic {
		h && !fin[me] ->
		inh[me] = true; asleep[me] = false; signals[me] = true;
		printf("%e %d interrupts\n", BY);
#ifndef M_SETTLE
		mode = (framed[me] -> SETTLE : 0)
#endif
	   }
	   if
	   :: d_step { mode == 0 -> next_call(me) }
	   :: else
	   fi;
	   run_frame(me);
	   atomic {
		if
		:: printf("%e %d jumps away\n", BY); jump = true; lost = true
		:: printf("%e %d returns\n", BY)
		fi;
		inh[me] = false
	   }
	:: !h ->
again:	   { run_frame(me) } unless {
		d_step { jump && frame == 0 -> jump = false; FRAME_CLEAR; forgotten(me) }
		goto again
	   }
	fi
#else
	run_frame(me)
#endif
}

#ifdef KILLS
proctype Killer()
{
	byte w;

	atomic {
		select (w : 0 .. N);
		if
		:: w < N && (VICTIM == N || w == VICTIM) ->
			printf("thread %d is killed\n", w);
			dead[w] = true; lost = true
		:: else
		fi
	}
}
#endif

init {
	FRAME;
	byte w, i, t, p;

	atomic {
		val[VAL] = START;
		do
		:: w < N -> run Frame(w, w, false); w++
		:: else -> w = 0; break
		od;
#ifdef SIGNALS
		run Frame(0, N, true);
#endif
#ifdef KILLS
		run Killer();
#endif
	}
	timeout;
	atomic {
		help_at_once();
		check();
		do
		:: w < N -> assert(fin[w] || dead[w]); w++
		:: else -> break
		od
	}
}
