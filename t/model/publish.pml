/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations without sleepers, at the finest grain. N threads take a unit (semaphore - 1, own undo + 1) if they have
 * none and the semaphore allows it, and give it back if they have one: two cells an operation, the same descriptor
 * each time. With HOT the semaphore is the hot word, the second cell says who changed it last, and a unit can be
 * given without undo, which is one step. A thread can be killed at any step; be interrupted at any step by a signal
 * handler that takes two units on the same area, returns or longjmps away, and can itself be left by the longjmp of a
 * second handler, into the first one.
 *
 * Held: when op is idle, semaphore + undo == START and each undo is what that thread's commits made it (nothing
 * half done, done twice, undone by a late helper); a cell is written only while its operation is published; a
 * refusal is true of one state; everybody who is not killed comes to the end.
 *
 * More mutants: M_FINISH (the wrapper of a signal handler does not complete the thread's committed operation
 * first), M_VERIFY (a refusal is not verified).
 */
#define PIDS	(N + 2)	/* init, threads, the killer */
#define FRAMES	N
#define CELLS	(1 + N)
#define ENTRIES	2
#define UNDO(w)	(1 + (w))
#define FIRST	0
#ifdef HOT
#define VALUE	hot
#define FIRST_NEW	SELF(me)
#else
#define VALUE	val[FIRST]
#define FIRST_NEW	(u >= a -> v + a : v - a)
#endif

#ifndef OPS
#define OPS 2
#endif
#ifndef START
#define START 2
#endif
#ifndef GIVEN
#define GIVEN 1
#endif
#ifndef HANDLED
#define HANDLED 2
#endif

#if defined(M_TAG) || defined(M_RECHECK)
#define WRITING(s, w)	skip	/* the damage must show in the cells */
#else
#define WRITING(s, w)	assert(OP_IS(s, w))
#endif

byte held[N];	/* ghost: units by commits */
byte held_all, given;
#ifdef HOT
byte last;	/* ghost: who committed last, with undo */
#define HOT_CHECK	assert(val[FIRST] == last)
#define HOT_PLAN(me)	desc[me].hot = (u >= a -> v + a : v - a); desc[me].hot_old = v
#define HOT_ACCOUNT(me)	last = SELF(me)
#else
#define HOT_CHECK	skip
#define HOT_PLAN(me)	skip
#define HOT_ACCOUNT(me)	skip
#endif
bool jump[N], leave[N], fin[N];

inline check()
{
	assert(VALUE + held_all == START + given);
	HOT_CHECK;
	i = 0;
	do
	:: i < N -> assert(val[UNDO(i)] == held[i]); i++
	:: else -> i = 0; break
	od
}

mtype = { value, undo, takes, gives };
#define CELL_KIND(c)	(c == FIRST -> value : undo)
#define CELL_OF(c)	(c == FIRST -> 0 : c - UNDO(0))

#include "protocol.pml"

#ifdef HOT
#define REGISTERS	FRAME; byte v, vt, u, ut, lo, i
#define VALUES_CLEAR	v = 0; vt = 0; u = 0; ut = 0; lo = 0
#define FIRST_OLD	lo
#else
#define REGISTERS	FRAME; byte v, vt, u, ut, i
#define VALUES_CLEAR	v = 0; vt = 0; u = 0; ut = 0
#define FIRST_OLD	v
#endif
#define CLEAR		FRAME_CLEAR; VALUES_CLEAR; i = 0

/* A unit more, without undo: only the hot word changes. Each thread may, as long as there are few. */
#define PLAIN(me)	(given < GIVEN)

#define MAY	(u >= a || v >= a)

#ifdef M_BEGUN
#define BEGUN(me)	false
#else
#define BEGUN(me)	begun[me]
#endif

#ifdef M_VERIFY
#define UNMOVED(s)	true
#else
#define UNMOVED(s)	OP_IS(s, 0)
#endif

/* Give a units back, or take them, or be refused. */
inline operate(me, a)
{
	do
	:: atomic { opwho != 0 -> s = SEQ; x = opwho; printf("%e %d sees operation %d\n", BY, s) }
	   help(s, x)
	:: atomic { opwho == 0 && BEGUN(me) -> SEQ_NEXT; begun[me] = 0 }
#ifdef HOT
	:: atomic { opwho == 0 && !BEGUN(me) && PLAIN(me) -> s = SEQ }
	   v = hot;
	   if
	   :: atomic { OP_IS(s, 0) && hot == v -> SEQ_NEXT; hot = v + 1; given++; CLEAR; break }
	   :: atomic { else -> CLEAR }
	   fi
#endif
	:: atomic { opwho == 0 && !BEGUN(me) -> s = SEQ; begun[me] = 1; printf("%e %d begins\n", BY) }
	   d_step { vt = TAG(FIRST); v = val[FIRST] }
#ifdef HOT
	   d_step { lo = v; v = hot }
#endif
	   d_step { ut = TAG(UNDO(me)); u = val[UNDO(me)] }
	   d_step {
		desc[me].e[0].cell = FIRST; desc[me].e[0].otag = vt; desc[me].e[0].oval = FIRST_OLD;
		desc[me].e[0].new = FIRST_NEW
	   }
	   if
	   :: atomic {
		!MAY && UNMOVED(s) ->
		printf("%e %d is refused\n", BY);
		assert(START + given - held_all < a && held[me] < a);
		begun[me] = 0; CLEAR; break
	      }
	   :: atomic { !MAY && !UNMOVED(s) -> begun[me] = 0; CLEAR }
	   :: d_step {
		MAY ->
		desc[me].e[1].cell = UNDO(me); desc[me].e[1].otag = ut; desc[me].e[1].oval = u;
		desc[me].e[1].new = (u >= a -> u - a : u + a);
		desc[me].n = 2; HOT_PLAN(me)
	      }
	      if
	      :: atomic {
		OP_IS(s, 0) ->
		printf("%e %d commits operation %d: %e %d\n", BY, s, (u >= a -> gives : takes), a);
		opwho = SELF(me);
		held_all = held_all - held[me];
		held[me] = (u >= a -> u - a : u + a);
		held_all = held_all + held[me];
		HOT_ACCOUNT(me);
		VALUES_CLEAR
		}
		begun[me] = 0;
		help(s, SELF(me));
		break
	      :: atomic { else -> CLEAR }
	      fi;
	      begun[me] = 0
	   fi
	od
}

proctype Thread(byte me) provided (!dead[me] && !inh[me])
{
	REGISTERS;
	byte left = OPS;

	do
	:: atomic { left > 0 -> left-- }
	   { operate(me, 1) } unless { d_step { jump[me] -> jump[me] = 0; CLEAR } }
	:: atomic { left == 0 -> fin[me] = 1; break }
	od
}

/* What the library does before the program's handler runs. */
#ifdef M_FINISH
#define wrapper(me)	skip
#else
inline wrapper(me)
{
	if
	:: atomic { opwho == SELF(me) -> s = SEQ }
	   help(s, SELF(me))
	:: else
	fi
}
#endif

#ifdef SIGNALS
proctype Handler(byte me) provided (!dead[me])
{
	REGISTERS;
	byte left = SIGNALS;

	do
	:: atomic { left > 0 && !fin[me] -> inh[me] = 1; left--; printf("handler %d interrupts\n", me) }
	   wrapper(me);
	   { operate(me, HANDLED) } unless {
		d_step {
			leave[me] ->
			printf("handler %d is left by a second one, which jumps\n", me);
			leave[me] = 0; CLEAR
		}
		wrapper(me)
	   };
	   atomic {
		leave[me] = 0;
		if
		:: printf("handler %d jumps away\n", me); jump[me] = 1
		:: printf("handler %d returns\n", me)
		fi;
		inh[me] = 0
	   }
	:: left == 0 -> break
	od
}
#endif

#ifdef SIGNALS
/* A second handler that longjmps to where the first one was, at any step of the first one's call. */
proctype Leaver(byte me)
{
	atomic { inh[me] -> leave[me] = 1 }
}
#endif

#ifdef KILLS
proctype Killer()
{
	byte w;

	atomic {
		select (w : 0 .. N);
		if
		:: w < N -> printf("thread %d is killed\n", w); dead[w] = 1
		:: else
		fi
	}
}
#endif

init {
	FRAME;
	byte w, i;

	atomic {
		VALUE = START;
		do
		:: w < N ->
			run Thread(w);
#ifdef SIGNALS
			if
			:: w < SIGNALLED -> run Handler(w); run Leaver(w)
			:: else
			fi;
#endif
			w++
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
