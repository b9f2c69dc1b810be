/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Publish-and-help: the one word, the cells and the descriptors of a control area, and how an operation is
 * completed by whoever sees it. Included by publish.pml and sleep.pml, which say what the cells mean, define
 * CELLS, ENTRIES, the ghost state and check(), and hold the operations.
 *
 * Each statement that touches shared memory is one step, so anything can happen between any two of them. A cell,
 * {tag, value}, and op, {seq, who}, are 64-bit words: reading or comparing-and-swapping one is one step.
 * Abstracted: seq and tags are bytes that never wrap in a run (the real ones wrap after 2^48 and 2^32 operations);
 * an entry of a descriptor is read and written in one step (torn reads across entries remain); memory is
 * sequentially consistent (the code has acquire loads and CAS where the model has steps that must stay in order).
 *
 * Mutants, each refuted by spin: M_TAG (a cell's CAS compares the value only), M_RECHECK (help does not look at op
 * again after reading an entry), M_BEGUN (a begun descriptor is not noticed), M_HOT (the hot word has a
 * compare-and-swap of its own).
 */
#ifndef N
#define N 2
#endif

/* For traces: who does it, a thread or its handler. */
mtype = { thread, handler };
#define BY	(inh[me] -> handler : thread), me

#define SELF(w) ((w) + 1)	/* who, as op names it: 0 is nobody */

typedef Entry {
	byte cell, otag, oval, new;
};

typedef Descriptor {
	byte n;
#ifdef HOT
	byte hot, hot_old;	/* hot_old: for the mutant only */
#endif
	Entry e[ENTRIES];
};

byte opwho, val[CELLS];
#ifdef COARSE
bool fresh[PIDS];	/* op's seq is what this process last read */
#else
byte opseq, tag[CELLS];
#endif
Descriptor desc[N];
#ifdef HOT
byte hot;	/* beside op, and written with it in one compare-and-swap of both */
#endif
bool begun[N];
bool dead[N];	/* killed: takes no more steps */
bool inh[FRAMES];	/* a signal handler runs on the thread: the interrupted frame takes no steps */

#ifdef COARSE
#define OP_IS(s, w)	(fresh[_pid] && opwho == (w))
#define SEQ		0; fresh[_pid] = true
#define SEQ_NEXT	fresh_none()
#define SEQ_FORGET	s = 0; fresh[_pid] = false
#define TAG(c)		0
#define TAG_SET(c, s)	skip
#define FITS		(val[ec] == eo)
#else
#define OP_IS(s, w)	(opseq == (s) && opwho == (w))
#define SEQ		opseq
#define SEQ_NEXT	opseq++
#define SEQ_FORGET	s = 0
#define TAG(c)		tag[c]
#define TAG_SET(c, s)	tag[c] = (s) + 1
#ifdef M_TAG
#define FITS		(val[ec] == eo)
#else
#define FITS		(val[ec] == eo && tag[ec] == et)
#endif
#endif

#ifdef M_RECHECK
#define STILL(s, w)	true
#else
#define STILL(s, w)	OP_IS(s, w)
#endif

/* A frame's registers: the op that it saw and the entry that it is at. */
#ifdef HOT
#define FRAME		byte s, x, k, ec, et, eo, en, eh, eho
#define HOT_READ(w)	eh = desc[(w) - 1].hot; eho = desc[(w) - 1].hot_old
#define HOT_CLEAR	eh = 0; eho = 0
#else
#define FRAME		byte s, x, k, ec, et, eo, en
#define HOT_READ(w)	skip
#define HOT_CLEAR	skip
#endif
#if defined(HOT) && !defined(M_HOT)
#define HOT_WRITE	hot = eh
#else
#define HOT_WRITE	skip
#endif
#define FRAME_CLEAR	FORGET; ENTRY_CLEAR
#define FORGET		SEQ_FORGET; x = 0; k = 0; HOT_CLEAR

#ifdef COARSE
inline DESC_FORGET(w)
{
	do
	:: desc[w].n > 0 ->
		desc[w].n--;
		desc[w].e[desc[w].n].cell = 0; desc[w].e[desc[w].n].oval = 0; desc[w].e[desc[w].n].new = 0
	:: else -> break
	od
}
#else
#define DESC_FORGET(w)	skip
#endif

inline add(by, c, nv)
{
	desc[by].e[desc[by].n].cell = c;
	desc[by].e[desc[by].n].otag = TAG(c);
	desc[by].e[desc[by].n].oval = val[c];
	desc[by].e[desc[by].n].new = nv;
	desc[by].n++
}

#ifdef COARSE
inline fresh_none()
{
	i = 0;
	do
	:: i < PIDS -> fresh[i] = false; i++
	:: else -> i = 0; break
	od
}
#endif

inline finish(hs, hw)
{
	if
	:: OP_IS(hs, hw) ->
		printf("%e %d completes operation %d\n", BY, hs);
		SEQ_NEXT; opwho = 0; HOT_WRITE; DESC_FORGET(hw - 1); check()
	:: else
	fi
}

#define ENTRY_CLEAR	ec = 0; et = 0; eo = 0; en = 0
#define ENTRY_READ(w)								\
	ec = desc[(w) - 1].e[k].cell; et = desc[(w) - 1].e[k].otag;		\
	eo = desc[(w) - 1].e[k].oval; en = desc[(w) - 1].e[k].new

inline apply(hs, hw)
{
	if
	:: FITS ->
		WRITING(hs, hw); val[ec] = en; TAG_SET(ec, hs);
		printf("%e %d writes %e%d = %d of operation %d\n", BY, CELL_KIND(ec), CELL_OF(ec), en, hs)
	:: else -> printf("%e %d is too late to write %e%d of operation %d\n", BY, CELL_KIND(ec), CELL_OF(ec), hs)
	fi;
	k++; ENTRY_CLEAR
}

/* Complete the operation {hs, hw}, or find that it has been completed; forget it. COARSE: an entry is one step. */
inline help(hs, hw)
{
	do
#ifdef COARSE
#if COARSE > 1
	:: atomic {
		OP_IS(hs, hw) ->
		do
		:: k < desc[hw - 1].n -> ENTRY_READ(hw); apply(hs, hw)
		:: else -> break
		od;
		finish(hs, hw); FORGET; break
	   }
#else
	:: d_step { OP_IS(hs, hw) && k < desc[hw - 1].n -> ENTRY_READ(hw); apply(hs, hw) }
	:: atomic { OP_IS(hs, hw) && k >= desc[hw - 1].n -> finish(hs, hw); FORGET; break }
#endif
	:: atomic { !OP_IS(hs, hw) -> FORGET; break }
#else
	:: atomic {
		k < desc[hw - 1].n ->
		ENTRY_READ(hw);
		printf("%e %d reads of thread %d: %e%d = %d\n", BY, hw - 1, CELL_KIND(ec), CELL_OF(ec), en);
		if
		:: k == 0 -> HOT_READ(hw)
		:: else
		fi
	   }
	   if
	   :: d_step { STILL(hs, hw) -> skip };
	      d_step { apply(hs, hw) }
	   :: atomic { !STILL(hs, hw) -> ENTRY_CLEAR; FORGET; break }
	   fi
	:: k >= desc[hw - 1].n ->
#ifdef M_HOT
	   d_step {
		if
		:: hot == eho -> hot = eh
		:: else
		fi
	   }
#endif
	   atomic { finish(hs, hw); FORGET; break }
#endif
	od
}

/* For the end of a run: whatever is still published is completed in one step. */
inline help_at_once()
{
	if
	:: opwho != 0 ->
		do
		:: k < desc[opwho - 1].n ->
			ENTRY_READ(opwho);
			if
			:: FITS -> val[ec] = en
			:: else
			fi;
			k++
		:: else -> break
		od;
		HOT_READ(opwho); HOT_WRITE;
		opwho = 0
	:: else
	fi
}
