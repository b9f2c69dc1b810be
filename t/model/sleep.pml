/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleepers: requests in a pending list, performed by whoever makes them possible. N threads take one or two units of
 * a semaphore and give them back, sleeping when there are not enough; a sleep can time out; a thread can be killed
 * at any step, and the others reap it (its units return, its request goes).
 *
 * Held, whenever op is idle: semaphore + undo == START, each undo is what commits made it, the list holds exactly the
 * waiting requests, and without `more` none of them is possible. At each commit: a request is performed once, with
 * the payload that was joined, and none before it in the list is possible; nobody takes units past a possible
 * request. A call returns what its request came to. Everybody who is not killed comes to the end: without a kill
 * nobody relies on the sleeper's once-a-second look; with one, that look is enough.
 *
 * Abstracted besides what protocol.pml says: the decision (a walk over cells and payloads, then the writing of the
 * descriptor) is two steps, since nothing of it counts unless op has not moved; publish.pml has it finer. Walks are
 * bounded by N links, as the code's must be, for links read while op moves can form a ring.
 *
 * Mutants: M_WAKE (a woken sleeper takes it that it was performed), M_MORE (no `more` when values change under
 * pending requests), M_FUTEX (sleep without comparing the futex word), M_CASCADE (more is not looked at before
 * taking), M_LOOK (the once-a-second look does not complete a dead thread's operation).
 */
#ifndef N
#define N 2
#endif
#define VAL	0
#define MORE	1
#define HEAD	2
#define TAIL	3
#define STATE(w)	(4 + (w))
#define NEXT(w)		(4 + N + (w))
#define UNDO(w)		(4 + 2 * N + (w))
#define PIDS	(N + 2)	/* init, threads, the killer */
#define CELLS		(4 + 3 * N)
#define ENTRIES		6

#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef MORE_ROUNDS
#define MORE_ROUNDS 0	/* of thread 1 */
#endif
#define LAST(w)	(ROUNDS + ((w) == 1 -> MORE_ROUNDS : 0))
#ifndef START
#define START 2
#endif
#define NEED(w, r)	(1 + (((w) + (r)) & 1))

/* Request states. */
#define NONE	0
#define WAIT	1
#define DONE	2

/* What a frame is doing. */
#define TAKE	1
#define GIVE	2
#define SETTLE	3	/* has changed values: cascade until there is no more */
#define SLEEP	4
#define LEAVE	5	/* timed out */

/* What a decision came to; those from OPERATE on are operations. */
#define RETURN	1
#define FUTEX	2
#define OPERATE	3
#define JOIN	4
#define PERFORM	5
#define CLEAR	6
#define WITHDRAW 7
#define REAP	8

byte want[N];	/* payload: plain memory */
bool asleep[N];
bool fin[N];
bool anydead;

byte held[N], held_all;	/* ghosts: units, requests and results by commits */
bool waits[N];
byte wanted[N];
bool got[N];

#define WRITING(s, w)	assert(OP_IS(s, w))
#define UNREAPED(w)	(dead[w] && (val[UNDO(w)] != 0 || val[STATE(w)] == WAIT))

inline check()
{
	assert(val[VAL] + held_all == START);
	i = 0;
	do
	:: i < N ->
		assert(val[UNDO(i)] == held[i]);
		assert((val[STATE(i)] == WAIT) == waits[i]);
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
#define FIND(cond)							\
	i = 0; p = 0; t = val[HEAD];					\
	do								\
	:: t != 0 && i < N && !(cond) -> p = t; t = val[NEXT(t - 1)]; i++	\
	:: else -> break						\
	od;								\
	if								\
	:: i == N -> t = 0; p = 0					\
	:: else								\
	fi

/* Entries for the semaphore and w's undo when w takes (or, with w's units given or reaped, returns) n. */
inline move(by, w, to, owes)
{
	desc[by].e[0].cell = VAL; desc[by].e[0].otag = vt; desc[by].e[0].oval = v; desc[by].e[0].new = to;
	desc[by].n = 1;
	add(by, UNDO(w), owes)
}

#ifdef M_MORE
#define SETS_MORE	false
#else
#define SETS_MORE	true
#endif
#ifdef M_CASCADE
#define CASCADES	(m && mode != TAKE)
#else
#define CASCADES	m
#endif

/* What to do in the state seen, and the descriptor for it. */
inline decide(me)
{
	desc[me].n = 0; what = 0; t = 0;
	if
	:: mode == SLEEP && val[STATE(me)] != WAIT -> what = RETURN
	:: mode == LEAVE && val[STATE(me)] != WAIT -> what = RETURN
	:: mode == LEAVE && val[STATE(me)] == WAIT ->
		what = WITHDRAW;
		add(me, STATE(me), NONE);
		FIND(t == SELF(me));
		if
		:: t != 0 -> unlink(me)
		:: else
		fi
	:: else ->
#ifdef KILLS
		i = 0;
		do
		:: i < N && !UNREAPED(i) -> i++
		:: else -> break
		od;
		if
		:: i < N -> t = SELF(i)
		:: else
		fi;
#endif
		if
#ifdef KILLS
		:: t != 0 ->
			what = REAP; who = t - 1;
			move(me, who, v + val[UNDO(who)], 0);
			if
			:: val[STATE(who)] == WAIT ->
				add(me, STATE(who), NONE);
				FIND(t == SELF(who));
				if
				:: t != 0 -> unlink(me)
				:: else
				fi
			:: else
			fi;
			add(me, MORE, val[HEAD] != 0)
#endif
		:: t == 0 && CASCADES ->
			FIND(want[t - 1] <= v);
			if
			:: t != 0 ->
				what = PERFORM; who = t - 1;
				move(me, who, v - want[who], val[UNDO(who)] + want[who]);
				add(me, STATE(who), DONE);
				unlink(me)
			:: else ->
				what = CLEAR;
				add(me, MORE, 0)
			fi
		:: t == 0 && !CASCADES ->
			if
			:: mode == SETTLE -> what = RETURN
			:: mode == SLEEP -> what = FUTEX
			:: mode == GIVE ->
				what = OPERATE;
				move(me, me, v + need, val[UNDO(me)] - need)
			:: mode == TAKE && v >= need ->
				what = OPERATE;
				move(me, me, v - need, val[UNDO(me)] + need)
			:: else ->
				what = JOIN;
				want[me] = need;
				add(me, STATE(me), WAIT);
				add(me, NEXT(me), 0);
				if
				:: val[TAIL] -> add(me, NEXT(val[TAIL] - 1), SELF(me))
				:: else -> add(me, HEAD, SELF(me))
				fi;
				add(me, TAIL, SELF(me))
			fi;
			if
			:: what == OPERATE && SETS_MORE && val[HEAD] != 0 -> add(me, MORE, 1)
			:: else
			fi
		fi
	fi;
	i = 0; p = 0; t = 0
}

/* The ghosts follow each commit. */
inline account(me)
{
	if
	:: what == OPERATE && mode == TAKE ->
		FIND(want[t - 1] <= val[VAL]);
		assert(t == 0);
		held[me] = held[me] + need; held_all = held_all + need
	:: what == OPERATE && mode == GIVE -> held[me] = held[me] - need; held_all = held_all - need
	:: what == JOIN -> waits[me] = true; wanted[me] = need
	:: what == PERFORM ->
		assert(waits[who] && want[who] == wanted[who] && want[who] <= val[VAL]);
		FIND(want[t - 1] <= val[VAL]);
		assert(t == SELF(who));
		waits[who] = false; wanted[who] = 0; got[who] = true;
		held[who] = held[who] + want[who]; held_all = held_all + want[who]
	:: what == WITHDRAW -> assert(waits[me]); waits[me] = false; wanted[me] = 0
	:: what == REAP ->
		held_all = held_all - held[who]; held[who] = 0;
		waits[who] = false; wanted[who] = 0
	:: else
	fi;
	i = 0; p = 0; t = 0
}

/* The thread's script: in each round take some, and give them back if they were got. */
inline next_call(me)
{
	if
	:: took -> took = false; mode = GIVE
	:: else ->
		if
		:: round < LAST(me) -> need = NEED(me, round); round++; mode = TAKE
		:: else -> need = 0; mode = 0; fin[me] = true
		fi
	fi;
	what = 0; SEQ_FORGET
}

inline finished(me)
{
	if
	:: mode == SLEEP || mode == LEAVE -> assert(got[me]); got[me] = false; took = true
	:: else
	fi;
	next_call(me)
}

/* What a dead thread may have left for a sleeper's once-a-second look. */
#if N > 2
#define UNREAPED_ANY	(UNREAPED(0) || UNREAPED(1) || UNREAPED(2))
#else
#define UNREAPED_ANY	(UNREAPED(0) || UNREAPED(1))
#endif
#ifdef M_LOOK
#define LEFT(me)	(val[MORE] || val[STATE(me)] != WAIT || UNREAPED_ANY)
#else
#define LEFT(me)	(opwho != 0 || val[MORE] || val[STATE(me)] != WAIT || UNREAPED_ANY)
#endif
#ifdef M_FUTEX
#define FALLS_ASLEEP(me)	true
#else
#define FALLS_ASLEEP(me)	(val[STATE(me)] == WAIT)
#endif
#ifdef M_WAKE
#define WOKEN(me)	finished(me)
#else
#define WOKEN(me)	skip
#endif

#ifdef COARSE
#define LOOK_AND_DECIDE(me)	d_step { v = val[VAL]; vt = TAG(VAL); m = val[MORE]; decide(me); v = 0; vt = 0; m = 0 }
#else
#define LOOK_AND_DECIDE(me)				\
	d_step { v = val[VAL]; vt = TAG(VAL); m = val[MORE] }	\
	d_step { decide(me); v = 0; vt = 0; m = 0 }
#endif

/* After the commit: what the frame is at next. */
inline next_mode()
{
	if
	:: what == OPERATE -> took = (mode == TAKE -> true : took); mode = SETTLE; what = 0
	:: what == JOIN -> mode = SLEEP; what = 0
	:: what == WITHDRAW -> mode = SETTLE; what = 0
	:: what == CLEAR || what == REAP -> who = 0; what = 0
	:: what == PERFORM
	fi
}

proctype Thread(byte me) provided (!dead[me] && !inh[me])
{
	FRAME;
	byte mode, need, v, vt, m, what, who, t, p, i, round;
	bool took;

	d_step { next_call(me) }
	do
	:: atomic { what == PERFORM -> asleep[who] = false; who = 0; what = 0 }
	:: atomic { mode != 0 && what == 0 && opwho != 0 -> s = SEQ; x = opwho }
	   help(s, x)
	:: atomic { mode != 0 && what == 0 && opwho == 0 -> s = SEQ }
	   LOOK_AND_DECIDE(me);
	   if
	   :: atomic { what == RETURN -> finished(me) }
	   :: atomic {
		what == FUTEX ->
		what = 0; SEQ_FORGET;
		if
		:: FALLS_ASLEEP(me) -> asleep[me] = true
		:: !FALLS_ASLEEP(me)
#ifdef TIMEOUTS
		:: FALLS_ASLEEP(me) -> mode = LEAVE	/* after any time: its next step can be long in coming */
#endif
		fi
	      }
	      if
	      :: atomic { !asleep[me] -> WOKEN(me) }
	      :: atomic { asleep[me] && anydead && LEFT(me) -> asleep[me] = false }
	      fi
	   :: atomic { what >= OPERATE && !OP_IS(s, 0) -> what = 0; who = 0; SEQ_FORGET; DESC_FORGET(me) }
	   :: atomic { what >= OPERATE && OP_IS(s, 0) -> opwho = SELF(me); account(me); next_mode() }
	      help(s, SELF(me))
	   fi
	od
}

#ifdef KILLS
proctype Killer()
{
	byte w;

	atomic {
		select (w : 0 .. N);
		if
		:: w < N -> dead[w] = true; anydead = true
		:: else
		fi
	}
}
#endif

init {
	byte w, i, t, p, k, ec, et, eo, en;

	atomic {
		val[VAL] = START;
		do
		:: w < N -> run Thread(w); w++
		:: else -> w = 0; break
		od;
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
