/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * elcount: a QEMU TCG plugin that counts instructions of an emulated 64-bit Arm machine, exactly, by who executed
 * them: EL3, EL2, EL0 under EL2, a guest hypervisor at virtual EL2, EL1, EL0 under EL1.
 *
 * It writes one JSON object a line:
 *   first_guest  the counts when the first instruction below EL2 is about to run
 *   mark         the counts of all CPUs when a guest executes HINT #0x60 to #0x6f (mark 0 to 15)
 *   exit         for each kind of exit to EL2 (class left, vector, ESR_EL2.EC, class entered): how many there were,
 *                and the EL2 instructions until the entry: sum, least, most
 *   sysreg       exits of class 0x18 again, by register and direction
 *   transition   how often one class followed another
 *   masked       for each way to EL2 (class left, vector, ESR_EL2.EC, and for class 0x18 the register): the longest
 *                stretch at EL2 without a look for interrupts, in instructions, of them those that it waited for, and
 *                where it was spent, as pairs of address and samples
 *   profile      with the argument profile=on, for each kind of exit to EL2: the blocks of code that it executed, as
 *                address, instructions, register reads and writes of one execution, and executions; and the locks that it
 *                took, as address of the taking instruction, times, and instructions from there to the release
 *   unanswered   an exit after which nothing below EL2 has run on the CPU: what EL2 has executed since
 *   end          what follows is of the time since the last mark 15
 *   total        the counts of all CPUs at the end; the last line
 *   failed_reads how many register reads failed; what is above is then not to be trusted
 * Mark 15 prints the exits, profiles and stretches so far and starts them anew.
 *
 * A stretch begins where a guest is left, and where EL2 has executed WFI or read ICC_IAR1_EL1 or ISR_EL1: an interrupt
 * that was pending then has been noticed, and EL2 reads ISR_EL1 to give way to one, or, without FEAT_RAS, for an SError:
 * measure with FEAT_RAS. It ends at the next such point, or where EL2 executes ERET: a guest that is entered at an
 * instruction that aborts executes none, but an interrupt would be taken before. What EL2 executes before the first
 * such point of a CPU is the start of the machine, and what comes after the last is its end: neither counts.
 *
 * A CPU waits for another where it executes the same ISB again and again within a few instructions: EL2's locks wait so,
 * and nothing else there does. What it executes itself meanwhile depends on the host, and does not count. What counts is what other
 * CPUs execute at EL2, their own waiting aside, in each visit there that was under way when the wait began, and in each
 * later one that changes the lock meanwhile, from its begin to its end or the wait's. The lock is where the waiting CPU
 * last did an exclusive or ordered access. So a stretch that waits is as long as if the others were served one after the
 * other, and a lock that later ones get first is seen: each of their visits counts.
 *
 * The class of a translation block is fixed when QEMU translates it: QEMU's own block flags hold the exception
 * level, the regime and HCR_EL2.NV. So registers are read at translation and at changes of class only, and the
 * counting itself is inline code.
 *
 * A lock is taken by an exclusive store and released by the next exclusive or releasing store near the same place. An
 * exclusive store that is followed by none before the guest is entered is another use of an atomic, and not told.
 *
 * Plugin API version 4 (QEMU 9.2 to 10.0). Arguments: out=FILE, profile=on.
 * Build: cc -O2 -shared -fPIC -fvisibility=hidden -pthread elcount.c -o libelcount.so
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/*
 * The part of QEMU's plugin interface that is used, declared here so that no header of QEMU or GLib is needed.
 */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} scoreboard_u64;
typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} register_descriptor;
typedef struct {
    char *data;
    unsigned len;
} GArray;
typedef struct {
    uint8_t *data;
    unsigned len;
} GByteArray;
enum { REGISTERS_NONE, REGISTERS_READ };
enum { MEMORY_READ = 1, MEMORY_WRITE, MEMORY_BOTH };
typedef uint32_t memory_info;
enum { CONDITION_NOT_EQUAL = 3, CONDITION_AT_LEAST = 7 };
enum { INLINE_ADD_U64 = 0 };

typedef void vcpu_callback(plugin_id, unsigned cpu);
typedef void translate_callback(plugin_id, struct qemu_plugin_tb *);
typedef void exit_callback(plugin_id, void *);
typedef void execute_callback(unsigned cpu, void *);
typedef void memory_callback(unsigned cpu, memory_info, uint64_t address, void *);

GByteArray *g_byte_array_new(void);
void *g_byte_array_free(GByteArray *, int free_segment);
void *g_array_free(GArray *, int free_segment);
GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *, GByteArray *);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *, unsigned);
void qemu_plugin_register_vcpu_init_cb(plugin_id, vcpu_callback);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translate_callback);
void qemu_plugin_register_atexit_cb(plugin_id, exit_callback, void *);
void qemu_plugin_register_vcpu_tb_exec_cond_cb(struct qemu_plugin_tb *, execute_callback, int registers, int condition,
                                               scoreboard_u64, uint64_t, void *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execute_callback, int registers, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, execute_callback, int registers, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, memory_callback, int registers, int accesses, void *);
bool qemu_plugin_mem_is_store(memory_info);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *, int operation, scoreboard_u64,
                                                         uint64_t);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *, int operation, scoreboard_u64, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);

EXPORT int qemu_plugin_version = 4;

/* Who executes. From VEL2 on it is a guest of EL2. NOBODY is a CPU that has not started. VEL0, EL0 under virtual EL2,
 * is told from EL0 where exits are accounted only: QEMU translates both alike, so their instructions count as EL0's. */
enum class { NOBODY, EL3, EL2, HOST_EL0, VEL2, EL1, EL0, VEL0, CLASSES };
static const char *const class_names[CLASSES] = { "nobody", "el3", "el2", "host_el0", "vel2", "el1", "el0", "vel0" };

enum { MAX_CPUS = 32, VECTORS = 16, EXCEPTION_CLASSES = 64, SYSREG_SLOTS = 4096, CAUSE_SLOTS = 4096 };
/* A stretch is sampled each so many instructions, and so often at most. */
enum { SAMPLE_EVERY = 256, MAX_SAMPLES = 4096, MAX_PLACES = 32 };
/* Instructions of one round of a loop that waits, at most. */
enum { WAITING_LOOP = 32 };
/* Rounds that make a loop. */
enum { ROUNDS = 3 };
/* Bytes of a lock, at most. */
enum { LOCK_BYTES = 16 };
/* A profile: kinds of code blocks, executions in one exit, locks held and released in one, and what is accounted. */
enum { BLOCK_SLOTS = 1 << 15, MAX_EXECUTED = 1 << 20, MAX_HELD = 16, MAX_RELEASED = 1 << 14, PROFILE_SLOTS = 1 << 17 };
enum { EC_SYSREG = 0x18, VECTOR_KIND_MASK = 3, KIND_SYNCHRONOUS = 0 };
static const char *const kind_names[4] = { "sync", "irq", "fiq", "serror" };

typedef struct {
    uint64_t class;
    uint64_t unsampled;
    uint64_t is_waiting;
    uint64_t waited; /* what it has executed at EL2 while it waited */
    uint64_t executed[CLASSES];
} cpu_state;

typedef struct {
    uint64_t count, el2, least, most;
} exit_account;

typedef struct {
    uint32_t key; /* from, direction and the five fields of the name; 0 is an empty slot */
    uint64_t count, el2;
} sysreg_account;

/* The exit that a CPU is dealing with at EL2. */
typedef struct {
    bool is_open;
    unsigned from, vector, exception_class;
    uint32_t syndrome;
    uint64_t el2_before;
} open_exit;

/* Where a stretch was spent: blocks of code, and how often a sample found each. */
typedef struct {
    uint64_t at, samples;
} place;

/* The stretch that a CPU is in. */
typedef struct {
    bool is_open;
    uint64_t el2_before, waited_before;
    uint64_t waited_for; /* what others have executed while this one waited */
    unsigned samples;
    uint64_t sampled[MAX_SAMPLES];
} open_stretch;

/* The last ISB of a CPU at EL2, what it waits for if it waits there, and for whom: what each of the others had executed
 * when the wait began, or its visit if it is a later one. */
typedef struct {
    uintptr_t at;
    unsigned rounds;
    uint64_t el2;
    uint64_t lock;
    bool is_for[MAX_CPUS];
    uint64_t before[MAX_CPUS];
} open_wait;

/* A CPU at EL2. */
typedef struct {
    bool is_open;
    uint64_t before; /* what it had executed when it came */
    uint64_t address; /* of its last exclusive or ordered access */
} open_visit;

/* The longest stretch of one cause. */
typedef struct {
    uint32_t key; /* from, vector's kind and class, or the register's key; 0 is an empty slot */
    unsigned from, kind, exception_class;
    uint64_t longest, waited_for;
    unsigned place_count;
    place places[MAX_PLACES];
} cause_account;

/* A block of EL2's code. */
typedef struct {
    uint64_t at; /* 0 is an empty slot */
    uint64_t instructions, reads, writes;
} code_block;

/* A lock that a CPU holds, or has held: who took it, where it is, and instructions: those before, or those from take to
 * release. */
typedef struct {
    uint64_t by, address, el2;
} held_lock;

/* What a CPU has done in the exit that it is dealing with. */
typedef struct {
    unsigned executed_count, held_count, released_count;
    uint32_t executed[MAX_EXECUTED]; /* slots of blocks */
    held_lock held[MAX_HELD], released[MAX_RELEASED];
} open_profile;

/* How often a kind of exit executed a block, or took a lock. */
typedef struct {
    uint32_t exit; /* see exit_key; 0 is an empty slot */
    bool is_lock;
    uint64_t at; /* slot of the block, or address of the taking instruction */
    uint64_t times, el2;
} profile_account;

static struct qemu_plugin_scoreboard *scoreboard;
static struct {
    struct qemu_plugin_register *cpsr, *hcr, *esr;
} registers;
static FILE *out;
static unsigned cpus;
static bool has_guest_run;
static uint64_t failed_reads;

/* Guards everything below: CPUs run in threads of their own. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static exit_account exits[CLASSES][VECTORS][EXCEPTION_CLASSES][CLASSES];
static sysreg_account sysregs[SYSREG_SLOTS];
static open_exit open_exits[MAX_CPUS];
static open_stretch open_stretches[MAX_CPUS];
static open_wait waits[MAX_CPUS];
static open_visit visits[MAX_CPUS];
static cause_account causes[CAUSE_SLOTS];
static uint64_t transitions[CLASSES][CLASSES];
static bool is_profiling;
static code_block blocks[BLOCK_SLOTS];
static open_profile profiles[MAX_CPUS];
static profile_account accounts[PROFILE_SLOTS];
static uint64_t unprofiled; /* what there was no room for */

/* The slots are one array. Asking for slot `cpu` itself fails for a CPU that runs before it was announced, which
 * happens with -icount. */
static cpu_state *state_of(unsigned cpu)
{
    return (cpu_state *)qemu_plugin_scoreboard_find(scoreboard, 0) + cpu;
}

static uint64_t read_register(struct qemu_plugin_register *reg)
{
    uint64_t value = 0;
    if (!reg) {
        return 0;
    }
    GByteArray *bytes = g_byte_array_new();
    qemu_plugin_read_register(reg, bytes);
    if (bytes->len) {
        memcpy(&value, bytes->data, bytes->len < sizeof value ? bytes->len : sizeof value);
    } else {
        failed_reads++;
    }
    g_byte_array_free(bytes, 1);
    return value;
}

/* The handles are the same on every CPU; a read goes to the CPU that is running. */
static void find_registers(void)
{
    GArray *all = qemu_plugin_get_registers();
    const register_descriptor *descriptors = (const register_descriptor *)all->data;
    for (unsigned k = 0; k < all->len; k++) {
        if (!strcmp(descriptors[k].name, "cpsr")) {
            registers.cpsr = descriptors[k].handle;
        } else if (!strcmp(descriptors[k].name, "HCR_EL2")) {
            registers.hcr = descriptors[k].handle;
        } else if (!strcmp(descriptors[k].name, "ESR_EL2")) {
            registers.esr = descriptors[k].handle;
        }
    }
    g_array_free(all, 1);
}

/* DDI 0487: PSTATE.nRW is bit 4, with an AArch32 mode below it; HCR_EL2.TGE is bit 27, HCR_EL2.NV bit 42. */
static enum class current_class(void)
{
    uint64_t pstate = read_register(registers.cpsr), hcr = read_register(registers.hcr);
    unsigned level = pstate & 0x10 ? (pstate & 0xf ? 1 : 0) : pstate >> 2 & 3;
    switch (level) {
    case 3:
        return EL3;
    case 2:
        return EL2;
    case 1:
        return hcr >> 42 & 1 ? VEL2 : EL1;
    default:
        return hcr >> 27 & 1 ? HOST_EL0 : EL0;
    }
}

/* The class of whoever is left or entered, as EL2 has the registers for it. */
static enum class account_class(enum class class)
{
    return class == EL0 && read_register(registers.hcr) >> 42 & 1 ? VEL0 : class;
}

static void print_counts(unsigned cpu)
{
    const cpu_state *state = state_of(cpu);
    fputc('{', out);
    for (int k = EL3; k < VEL0; k++) {
        fprintf(out, "%s\"%s\":%" PRIu64, k == EL3 ? "" : ",", class_names[k], state->executed[k]);
    }
    fputc('}', out);
}

static void print_all_counts(void)
{
    fputs("\"cpus\":[", out);
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        fputs(cpu ? "," : "", out);
        print_counts(cpu);
    }
    fputs("]}\n", out);
    fflush(out);
}

static void open_exit_of(unsigned cpu, enum class from, unsigned vector)
{
    uint64_t esr = read_register(registers.esr);
    bool is_synchronous = (vector & VECTOR_KIND_MASK) == KIND_SYNCHRONOUS;
    open_exits[cpu] = (open_exit){
        .is_open = true,
        .from = account_class(from),
        .vector = vector,
        .exception_class = is_synchronous ? esr >> 26 & 63 : 0,
        .syndrome = esr & 0x1ffffff,
        .el2_before = state_of(cpu)->executed[EL2],
    };
}

/* The key holds the syndrome's register fields and direction (bits 21:10, 4:0 without Rt), and the class left. */
static uint32_t sysreg_key(const open_exit *e)
{
    return (e->syndrome & 0x3ffc1f) | 1u << 31 | e->from << 24;
}

static void account_sysreg(const open_exit *e, uint64_t spent)
{
    uint32_t key = sysreg_key(e);
    uint32_t slot = key * 2654435761u >> 20;
    for (unsigned tries = 0; tries < SYSREG_SLOTS; tries++, slot = (slot + 1) % SYSREG_SLOTS) {
        if (!sysregs[slot].key || sysregs[slot].key == key) {
            sysregs[slot].key = key;
            sysregs[slot].count++;
            sysregs[slot].el2 += spent;
            return;
        }
    }
}

/* Bit 31 makes it no empty slot. */
static uint32_t exit_key(const open_exit *e, enum class to)
{
    return 1u << 31 | e->from << 16 | e->vector << 12 | e->exception_class << 4 | to;
}

static void account_profile(uint32_t exit, bool is_lock, uint64_t at, uint64_t el2)
{
    uint32_t slot = ((exit ^ (uint32_t)at << 7) + is_lock) * 2654435761u % PROFILE_SLOTS;
    for (unsigned tries = 0; tries < PROFILE_SLOTS; tries++, slot = (slot + 1) % PROFILE_SLOTS) {
        profile_account *a = &accounts[slot];
        if (!a->exit) {
            *a = (profile_account){ .exit = exit, .is_lock = is_lock, .at = at };
        }
        if (a->exit == exit && a->is_lock == is_lock && a->at == at) {
            a->times++;
            a->el2 += el2;
            return;
        }
    }
    unprofiled++;
}

static void open_profile_of(unsigned cpu)
{
    open_profile *p = &profiles[cpu];
    p->executed_count = p->held_count = p->released_count = 0;
}

static void close_profile_of(unsigned cpu, enum class to)
{
    const open_profile *p = &profiles[cpu];
    uint32_t exit = exit_key(&open_exits[cpu], to);
    for (unsigned k = 0; k < p->executed_count; k++) {
        account_profile(exit, false, p->executed[k], 0);
    }
    for (unsigned k = 0; k < p->released_count; k++) {
        account_profile(exit, true, p->released[k].by, p->released[k].el2);
    }
}

/* A block of EL2's code begins; `user` is its slot. Only this CPU's thread touches its profile. */
static void on_profiled_block(unsigned cpu, void *user)
{
    if (cpu < MAX_CPUS && open_exits[cpu].is_open) {
        open_profile *p = &profiles[cpu];
        if (p->executed_count < MAX_EXECUTED) {
            p->executed[p->executed_count++] = (uintptr_t)user;
        } else {
            unprofiled++;
        }
    }
}

/* An exclusive or releasing store at EL2, by the instruction at `by`. */
static void note_store(unsigned cpu, uint64_t by, uint64_t address, bool takes)
{
    open_profile *p = &profiles[cpu];
    uint64_t now = state_of(cpu)->executed[EL2];
    for (unsigned k = 0; k < p->held_count; k++) {
        held_lock *held = &p->held[k];
        uint64_t apart = address > held->address ? address - held->address : held->address - address;
        if (apart < LOCK_BYTES) {
            if (p->released_count < MAX_RELEASED) {
                p->released[p->released_count++] =
                    (held_lock){ .by = held->by, .address = held->address, .el2 = now - held->el2 };
            } else {
                unprofiled++;
            }
            *held = p->held[--p->held_count];
            return;
        }
    }
    if (takes && p->held_count < MAX_HELD) {
        p->held[p->held_count++] = (held_lock){ .by = by, .address = address, .el2 = now };
    }
}

/* `user` holds the instruction's address and, in its lowest bit, whether the store can take a lock. */
static void on_ordered_store(unsigned cpu, memory_info info, uint64_t address, void *user)
{
    if (cpu < MAX_CPUS && qemu_plugin_mem_is_store(info)) {
        note_store(cpu, (uintptr_t)user & ~(uintptr_t)1, address, (uintptr_t)user & 1);
    }
}

static void close_exit_of(unsigned cpu, enum class to)
{
    open_exit *e = &open_exits[cpu];
    enum class entered = account_class(to);
    if (is_profiling) {
        close_profile_of(cpu, entered);
    }
    exit_account *account = &exits[e->from][e->vector][e->exception_class][entered];
    uint64_t spent = state_of(cpu)->executed[EL2] - e->el2_before;
    account->least = !account->count || spent < account->least ? spent : account->least;
    account->most = spent > account->most ? spent : account->most;
    account->count++;
    account->el2 += spent;
    if (e->exception_class == EC_SYSREG) {
        account_sysreg(e, spent);
    }
    e->is_open = false;
}

/* What the exit of a CPU is a case of. A CPU that has left no guest yet has an exit of all zeroes. */
static cause_account *cause_of(const open_exit *e)
{
    unsigned kind = e->vector & VECTOR_KIND_MASK;
    uint32_t key = e->exception_class == EC_SYSREG
                       ? sysreg_key(e)
                       : 1u << 30 | e->from << 24 | kind << 8 | e->exception_class;
    uint32_t slot = key * 2654435761u >> 20;
    for (unsigned tries = 0; tries < CAUSE_SLOTS; tries++, slot = (slot + 1) % CAUSE_SLOTS) {
        cause_account *cause = &causes[slot];
        if (!cause->key) {
            *cause = (cause_account){
                .key = key, .from = e->from, .kind = kind, .exception_class = e->exception_class
            };
        }
        if (cause->key == key) {
            return cause;
        }
    }
    return NULL;
}

/* Counts a stretch's samples by place, as many places as there is room for. */
static void note_places(cause_account *cause, const open_stretch *stretch)
{
    cause->place_count = 0;
    for (unsigned k = 0; k < stretch->samples; k++) {
        unsigned n = 0;
        while (n < cause->place_count && cause->places[n].at != stretch->sampled[k]) {
            n++;
        }
        if (n == MAX_PLACES) {
            continue;
        }
        if (n == cause->place_count) {
            cause->places[cause->place_count++] = (place){ .at = stretch->sampled[k] };
        }
        cause->places[n].samples++;
    }
}

static void begin_stretch(unsigned cpu)
{
    open_stretch *stretch = &open_stretches[cpu];
    stretch->is_open = true;
    stretch->samples = 0;
    stretch->el2_before = state_of(cpu)->executed[EL2];
    stretch->waited_before = state_of(cpu)->waited;
    stretch->waited_for = 0;
    state_of(cpu)->unsampled = 0;
}

static unsigned cpu_count(void)
{
    return cpus < MAX_CPUS ? cpus : MAX_CPUS;
}

/* What a CPU has executed at EL2 without waiting. */
static uint64_t work_of(unsigned cpu)
{
    const cpu_state *state = state_of(cpu);
    return state->executed[EL2] - state->waited;
}

/* Counts what `other` has executed while `cpu` waited for it. */
static void end_wait_for(unsigned cpu, unsigned other)
{
    open_wait *wait = &waits[cpu];
    if (wait->is_for[other]) {
        wait->is_for[other] = false;
        open_stretches[cpu].waited_for += work_of(other) - wait->before[other];
    }
}

/* A CPU has what it waited for. */
static void end_wait(unsigned cpu)
{
    cpu_state *state = state_of(cpu);
    if (state->is_waiting) {
        state->is_waiting = 0;
        for (unsigned other = 0; other < cpu_count(); other++) {
            end_wait_for(cpu, other);
        }
    }
}

static void begin_visit(unsigned cpu)
{
    visits[cpu].is_open = true;
    visits[cpu].before = work_of(cpu);
}

static void end_visit(unsigned cpu)
{
    visits[cpu].is_open = false;
    for (unsigned other = 0; other < cpu_count(); other++) {
        if (state_of(other)->is_waiting) {
            end_wait_for(other, cpu);
        }
    }
}

static void end_stretch(unsigned cpu)
{
    open_stretch *stretch = &open_stretches[cpu];
    if (!stretch->is_open) {
        return;
    }
    end_wait(cpu);
    stretch->is_open = false;
    const cpu_state *state = state_of(cpu);
    uint64_t own = state->executed[EL2] - stretch->el2_before - (state->waited - stretch->waited_before);
    uint64_t spent = own + stretch->waited_for;
    cause_account *cause = cause_of(&open_exits[cpu]);
    if (cause && spent > cause->longest) {
        cause->longest = spent;
        cause->waited_for = stretch->waited_for;
        note_places(cause, stretch);
    }
}

/* EL2 looks for interrupts. */
static void on_look(unsigned cpu, void *user)
{
    (void)user;
    if (cpu < MAX_CPUS) {
        pthread_mutex_lock(&lock);
        end_stretch(cpu);
        begin_stretch(cpu);
        pthread_mutex_unlock(&lock);
    }
}

/* EL2 enters a guest. */
static void on_return(unsigned cpu, void *user)
{
    (void)user;
    if (cpu < MAX_CPUS) {
        pthread_mutex_lock(&lock);
        end_stretch(cpu);
        end_visit(cpu);
        begin_stretch(cpu);
        begin_visit(cpu);
        pthread_mutex_unlock(&lock);
    }
}

/* EL2 has executed some instructions since the last sample. Only this CPU's thread touches its samples. */
static void on_sample(unsigned cpu, void *user)
{
    state_of(cpu)->unsampled = 0;
    if (cpu < MAX_CPUS) {
        open_stretch *stretch = &open_stretches[cpu];
        if (stretch->is_open && stretch->samples < MAX_SAMPLES) {
            stretch->sampled[stretch->samples++] = (uintptr_t)user;
        }
    }
}

/* An ISB at EL2: the same again after a few instructions is a round of a loop that waits. */
static void on_isb(unsigned cpu, void *user)
{
    if (cpu >= MAX_CPUS) {
        return;
    }
    pthread_mutex_lock(&lock);
    cpu_state *state = state_of(cpu);
    open_wait *wait = &waits[cpu];
    uint64_t round = state->executed[EL2] - wait->el2;
    if (cpus > 1 && wait->at == (uintptr_t)user && round <= WAITING_LOOP) {
        wait->rounds++;
        state->is_waiting = wait->rounds >= ROUNDS;
        state->waited += wait->rounds > ROUNDS ? round : wait->rounds == ROUNDS ? round * ROUNDS : 0;
    } else {
        end_wait(cpu);
        wait->at = (uintptr_t)user;
        wait->rounds = 0;
        wait->lock = visits[cpu].address;
        for (unsigned other = 0; other < cpu_count(); other++) {
            wait->is_for[other] = other != cpu && visits[other].is_open;
            wait->before[other] = work_of(other);
        }
    }
    wait->el2 = state->executed[EL2];
    pthread_mutex_unlock(&lock);
}

/* An exclusive or ordered access at EL2. */
static void on_access(unsigned cpu, memory_info info, uint64_t address, void *user)
{
    (void)user;
    if (cpu >= MAX_CPUS) {
        return;
    }
    pthread_mutex_lock(&lock);
    visits[cpu].address = address;
    for (unsigned other = 0; qemu_plugin_mem_is_store(info) && other < cpu_count(); other++) {
        open_wait *wait = &waits[other];
        uint64_t apart = address > wait->lock ? address - wait->lock : wait->lock - address;
        if (other != cpu && state_of(other)->is_waiting && !wait->is_for[cpu] && apart < LOCK_BYTES) {
            wait->is_for[cpu] = true;
            wait->before[cpu] = visits[cpu].before;
        }
    }
    pthread_mutex_unlock(&lock);
}

/* A block begins at EL2 on a CPU that waited for another: it does no longer, if this is no part of the loop. */
static void on_block_after_wait(unsigned cpu, void *user)
{
    (void)user;
    if (cpu < MAX_CPUS) {
        pthread_mutex_lock(&lock);
        if (state_of(cpu)->executed[EL2] - waits[cpu].el2 > WAITING_LOOP) {
            end_wait(cpu);
        }
        pthread_mutex_unlock(&lock);
    }
}

/* A block of another class than the last begins. `user` holds its class and, above, its address's vector number. */
static void on_change(unsigned cpu, void *user)
{
    cpu_state *state = state_of(cpu);
    enum class from = state->class, to = (uintptr_t)user & 15;
    pthread_mutex_lock(&lock);
    transitions[from][to]++;
    if (to >= VEL2 && !has_guest_run) {
        has_guest_run = true;
        fprintf(out, "{\"event\":\"first_guest\",\"cpu\":%u,", cpu);
        print_all_counts();
    }
    if (from >= VEL2 && to == EL2 && cpu < MAX_CPUS) {
        open_exit_of(cpu, from, (uintptr_t)user >> 4);
        open_profile_of(cpu);
        begin_stretch(cpu);
        begin_visit(cpu);
    } else if (from == EL2 && to >= VEL2 && cpu < MAX_CPUS) {
        end_stretch(cpu);
        end_visit(cpu);
        if (open_exits[cpu].is_open) {
            close_exit_of(cpu, to);
        }
    }
    state->class = to;
    pthread_mutex_unlock(&lock);
}

static void print_register(uint32_t key)
{
    fprintf(out, "\"name\":\"S%u_%u_C%u_C%u_%u\",\"direction\":\"%s\",", key >> 20 & 3, key >> 14 & 7, key >> 10 & 15,
            key >> 1 & 15, key >> 17 & 7, key & 1 ? "read" : "write");
}

static void print_stretches(void)
{
    for (unsigned slot = 0; slot < CAUSE_SLOTS; slot++) {
        const cause_account *c = &causes[slot];
        if (!c->longest) {
            continue;
        }
        fputs("{\"event\":\"masked\",", out);
        if (c->exception_class == EC_SYSREG) {
            print_register(c->key);
        }
        fprintf(out, "\"from\":\"%s\",\"kind\":\"%s\",\"ec\":%u,\"longest\":%" PRIu64 ",\"waited_for\":%" PRIu64
                ",\"places\":[",
                class_names[c->from], kind_names[c->kind], c->exception_class, c->longest, c->waited_for);
        for (unsigned k = 0; k < c->place_count; k++) {
            fprintf(out, "%s[%" PRIu64 ",%" PRIu64 "]", k ? "," : "", c->places[k].at, c->places[k].samples);
        }
        fputs("]}\n", out);
    }
}

static int by_exit(const void *left, const void *right)
{
    const profile_account *a = left, *b = right;
    return a->exit != b->exit ? (a->exit > b->exit) - (a->exit < b->exit) : a->is_lock - b->is_lock;
}

/* Sorts the accounts, and leaves them so. */
static void print_profiles(void)
{
    qsort(accounts, PROFILE_SLOTS, sizeof *accounts, by_exit);
    for (unsigned slot = 0; slot < PROFILE_SLOTS;) {
        const profile_account *first = &accounts[slot];
        if (!first->exit) {
            slot++;
            continue;
        }
        fprintf(out, "{\"event\":\"profile\",\"from\":\"%s\",\"kind\":\"%s\",\"ec\":%u,\"to\":\"%s\",\"blocks\":[",
                class_names[first->exit >> 16 & 15], kind_names[first->exit >> 12 & VECTOR_KIND_MASK],
                first->exit >> 4 & 63, class_names[first->exit & 15]);
        const char *between = "";
        bool are_locks = false;
        for (; slot < PROFILE_SLOTS && accounts[slot].exit == first->exit; slot++, between = ",") {
            const profile_account *a = &accounts[slot];
            if (a->is_lock && !are_locks) {
                are_locks = true;
                fputs("],\"locks\":[", out);
                between = "";
            }
            if (a->is_lock) {
                fprintf(out, "%s[%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", between, a->at, a->times, a->el2);
            } else {
                const code_block *b = &blocks[a->at];
                fprintf(out, "%s[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", between, b->at,
                        b->instructions, b->reads, b->writes, a->times);
            }
        }
        fputs(are_locks ? "]}\n" : "],\"locks\":[]}\n", out);
    }
    if (unprofiled) {
        fprintf(out, "{\"event\":\"unprofiled\",\"count\":%" PRIu64 "}\n", unprofiled);
    }
}

static void print_exits(void)
{
    for (int from = 0; from < CLASSES; from++)
        for (int vector = 0; vector < VECTORS; vector++)
            for (int ec = 0; ec < EXCEPTION_CLASSES; ec++)
                for (int to = 0; to < CLASSES; to++) {
                    const exit_account *a = &exits[from][vector][ec][to];
                    if (a->count) {
                        fprintf(out,
                                "{\"event\":\"exit\",\"from\":\"%s\",\"kind\":\"%s\",\"ec\":%d,\"to\":\"%s\","
                                "\"count\":%" PRIu64 ",\"el2\":%" PRIu64 ",\"least\":%" PRIu64 ",\"most\":%" PRIu64
                                "}\n",
                                class_names[from], kind_names[vector & VECTOR_KIND_MASK], ec, class_names[to],
                                a->count, a->el2, a->least, a->most);
                    }
                }
    for (int slot = 0; slot < SYSREG_SLOTS; slot++) {
        const sysreg_account *a = &sysregs[slot];
        uint32_t key = a->key;
        if (key) {
            fputs("{\"event\":\"sysreg\",", out);
            print_register(key);
            fprintf(out, "\"from\":\"%s\",\"count\":%" PRIu64 ",\"el2\":%" PRIu64 "}\n", class_names[key >> 24 & 7],
                    a->count, a->el2);
        }
    }
    print_stretches();
    if (is_profiling) {
        print_profiles();
    }
    if (failed_reads) {
        fprintf(out, "{\"event\":\"failed_reads\",\"count\":%" PRIu64 "}\n", failed_reads);
    }
    fflush(out);
}

static void print_unanswered(void)
{
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        const open_exit *e = &open_exits[cpu];
        if (e->is_open) {
            fprintf(out, "{\"event\":\"unanswered\",\"cpu\":%u,\"from\":\"%s\",\"ec\":%u,\"el2\":%" PRIu64 "}\n", cpu,
                    class_names[e->from], e->exception_class, state_of(cpu)->executed[EL2] - e->el2_before);
        }
    }
}

static void on_mark(unsigned cpu, void *user)
{
    unsigned mark = (uintptr_t)user;
    pthread_mutex_lock(&lock);
    fprintf(out, "{\"event\":\"mark\",\"mark\":%u,\"cpu\":%u,", mark, cpu);
    print_all_counts();
    if (mark == 15) {
        print_exits();
        memset(exits, 0, sizeof exits);
        memset(sysregs, 0, sizeof sysregs);
        memset(causes, 0, sizeof causes);
        memset(accounts, 0, sizeof accounts);
    }
    pthread_mutex_unlock(&lock);
}

/* HINT #imm is 0xd503201f with imm (CRm:op2) at bits 11:5; marks have 6 in its upper three bits. */
static bool is_mark(uint32_t instruction)
{
    return (instruction & 0xfffff01f) == 0xd503201f && (instruction >> 9 & 7) == 6;
}

/* WFI, or MRS of ICC_IAR1_EL1 (S3_0_C12_C12_0) or ISR_EL1. */
static bool is_look(uint32_t instruction)
{
    uint32_t read = instruction & 0xffffffe0;
    return instruction == 0xd503207f || read == 0xd538cc00 || read == 0xd538c100;
}

/* Exclusive and ordered loads and stores: bits 29:24 are 0b001000 (DDI 0487, C4.1, "Loads and Stores"). */
static bool is_exclusive(uint32_t instruction)
{
    return (instruction & 0x3f000000) == 0x08000000;
}

/* STXR, STLXR and their pairs: of the exclusive ones, bits 23 and 22 clear. */
static bool is_exclusive_store(uint32_t instruction)
{
    return is_exclusive(instruction) && !(instruction & 0x00c00000);
}

/* STLR: of the same, bit 23 set, 22 clear, 15 set. */
static bool is_releasing_store(uint32_t instruction)
{
    return is_exclusive(instruction) && (instruction & 0x00c08000) == 0x00808000;
}

/* MRS and MSR by name: bits 31:22 are 0b1101010100, bit 20 set, and bit 21 tells the direction. */
static bool is_register_move(uint32_t instruction)
{
    return (instruction & 0xffd00000) == 0xd5100000;
}

static bool is_register_read(uint32_t instruction)
{
    return instruction & 0x00200000;
}

static bool is_eret(uint32_t instruction)
{
    return instruction == 0xd69f03e0;
}

static bool is_isb(uint32_t instruction)
{
    return instruction == 0xd5033fdf;
}

/* The slot of a block of EL2's code, which is known by its address and length. Without room, that of no block. */
static uintptr_t block_slot(struct qemu_plugin_tb *tb)
{
    code_block block = { .at = qemu_plugin_tb_vaddr(tb), .instructions = qemu_plugin_tb_n_insns(tb) };
    for (size_t k = 0; k < block.instructions; k++) {
        uint32_t word = 0;
        qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, k), &word, sizeof word);
        block.reads += is_register_move(word) && is_register_read(word);
        block.writes += is_register_move(word) && !is_register_read(word);
    }
    pthread_mutex_lock(&lock);
    uint32_t slot = (uint32_t)(block.at >> 2) * 2654435761u % BLOCK_SLOTS;
    unsigned tries = 0;
    while (tries < BLOCK_SLOTS && blocks[slot].at &&
           (blocks[slot].at != block.at || blocks[slot].instructions != block.instructions)) {
        slot = (slot + 1) % BLOCK_SLOTS;
        tries++;
    }
    if (tries < BLOCK_SLOTS) {
        blocks[slot] = block;
    } else {
        unprofiled++;
    }
    pthread_mutex_unlock(&lock);
    return slot;
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    enum class class = current_class();
    uintptr_t vector = qemu_plugin_tb_vaddr(tb) >> 7 & 15;
    scoreboard_u64 last = { scoreboard, offsetof(cpu_state, class) };
    scoreboard_u64 executed = { scoreboard, offsetof(cpu_state, executed) + sizeof(uint64_t) * class };
    qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, on_change, REGISTERS_READ, CONDITION_NOT_EQUAL, last, class,
                                              (void *)(class | vector << 4));
    size_t count = qemu_plugin_tb_n_insns(tb);
    if (class == EL2) {
        scoreboard_u64 unsampled = { scoreboard, offsetof(cpu_state, unsampled) };
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, INLINE_ADD_U64, unsampled, count);
        qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, on_sample, REGISTERS_NONE, CONDITION_AT_LEAST, unsampled,
                                                  SAMPLE_EVERY, (void *)(uintptr_t)qemu_plugin_tb_vaddr(tb));
        scoreboard_u64 is_waiting = { scoreboard, offsetof(cpu_state, is_waiting) };
        qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, on_block_after_wait, REGISTERS_NONE, CONDITION_NOT_EQUAL, is_waiting,
                                                  0, NULL);
    }
    if (class == EL2 && is_profiling) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, on_profiled_block, REGISTERS_NONE, (void *)block_slot(tb));
    }
    for (size_t k = 0; k < count; k++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, k);
        uint32_t word = 0;
        qemu_plugin_insn_data(insn, &word, sizeof word);
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD_U64, executed, 1);
        if (is_mark(word)) {
            uintptr_t mark = word >> 5 & 15;
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, REGISTERS_NONE, (void *)mark);
        }
        if (class == EL2 && is_look(word)) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_look, REGISTERS_NONE, NULL);
        }
        if (class == EL2 && is_exclusive(word)) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, REGISTERS_NONE, MEMORY_BOTH, NULL);
        }
        if (class == EL2 && is_profiling && (is_exclusive_store(word) || is_releasing_store(word))) {
            uintptr_t at = qemu_plugin_insn_vaddr(insn) | is_exclusive_store(word);
            qemu_plugin_register_vcpu_mem_cb(insn, on_ordered_store, REGISTERS_NONE, MEMORY_BOTH, (void *)at);
        }
        if (class == EL2 && is_eret(word)) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_return, REGISTERS_NONE, NULL);
        }
        if (class == EL2 && is_isb(word)) {
            uintptr_t at = qemu_plugin_insn_vaddr(insn);
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_isb, REGISTERS_NONE, (void *)at);
        }
    }
}

static void on_vcpu(plugin_id id, unsigned cpu)
{
    (void)id;
    if (!registers.cpsr) {
        find_registers();
    }
    pthread_mutex_lock(&lock);
    cpus = cpu + 1 > cpus ? cpu + 1 : cpus;
    pthread_mutex_unlock(&lock);
}

static void on_exit_of_qemu(plugin_id id, void *user)
{
    (void)id;
    (void)user;
    pthread_mutex_lock(&lock);
    for (int from = 0; from < CLASSES; from++)
        for (int to = 0; to < CLASSES; to++)
            if (transitions[from][to]) {
                fprintf(out, "{\"event\":\"transition\",\"from\":\"%s\",\"to\":\"%s\",\"count\":%" PRIu64 "}\n",
                        class_names[from], class_names[to], transitions[from][to]);
            }
    fputs("{\"event\":\"end\"}\n", out);
    print_exits();
    print_unanswered();
    fputs("{\"event\":\"total\",", out);
    print_all_counts();
    pthread_mutex_unlock(&lock);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    out = stderr;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) {
            out = fopen(argv[i] + 4, "w");
        } else if (!strcmp(argv[i], "profile=on") || !strcmp(argv[i], "profile=true")) {
            is_profiling = true;
        } else {
            fprintf(stderr, "elcount: no such argument: %s\n", argv[i]);
            return 1;
        }
    }
    if (!out) {
        perror("elcount: the output file");
        return 1;
    }
    scoreboard = qemu_plugin_scoreboard_new(sizeof(cpu_state));
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
    return 0;
}
