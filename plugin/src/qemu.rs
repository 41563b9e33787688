//! The part of QEMU's plugin interface that is used, declared here so that no header of QEMU or GLib is needed.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

#[repr(C)]
struct GArray {
    data: *mut c_void,
    len: c_uint,
}

#[repr(C)]
struct GByteArray {
    data: *mut u8,
    len: c_uint,
}

#[repr(C)]
struct Descriptor {
    handle: *mut c_void,
    name: *const c_char,
    feature: *const c_char,
}

/// A number for each CPU, which QEMU's own code can compare.
#[repr(C)]
#[derive(Clone, Copy)]
struct ScoreU64 {
    score: *mut c_void,
    offset: usize,
}

/// What QEMU says of itself.
#[repr(C)]
pub struct Info {
    target: *const c_char,
    version: [c_int; 2],
    is_system: bool,
    cpus: c_int,
    most_cpus: c_int,
}

pub(crate) type OnCpu = extern "C" fn(u64, c_uint);
pub(crate) type OnTranslation = extern "C" fn(u64, *mut c_void);
pub(crate) type OnEnd = extern "C" fn(u64, *mut c_void);
pub(crate) type OnExecution = extern "C" fn(c_uint, *mut c_void);
pub(crate) type OnAccess = extern "C" fn(c_uint, u32, u64, *mut c_void);

unsafe extern "C" {
    fn g_byte_array_new() -> *mut GByteArray;
    fn g_byte_array_set_size(array: *mut GByteArray, bytes: c_uint) -> *mut GByteArray;
    fn qemu_plugin_get_registers() -> *mut GArray;
    fn qemu_plugin_read_register(register: *mut c_void, into: *mut GByteArray) -> c_int;
    fn qemu_plugin_scoreboard_new(bytes: usize) -> *mut c_void;
    fn qemu_plugin_scoreboard_find(score: *mut c_void, cpu: c_uint) -> *mut c_void;
    fn qemu_plugin_register_vcpu_init_cb(id: u64, call: OnCpu);
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, call: OnTranslation);
    fn qemu_plugin_register_atexit_cb(id: u64, call: OnEnd, user: *mut c_void);
    fn qemu_plugin_register_vcpu_tb_exec_cond_cb(
        block: *mut c_void,
        call: OnExecution,
        registers: c_int,
        condition: c_int,
        entry: ScoreU64,
        value: u64,
        user: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut c_void,
        call: OnExecution,
        registers: c_int,
        user: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut c_void,
        call: OnAccess,
        registers: c_int,
        accesses: c_int,
        user: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_data(instruction: *const c_void, into: *mut c_void, bytes: usize) -> usize;
    fn qemu_plugin_insn_vaddr(instruction: *const c_void) -> u64;
    fn qemu_plugin_get_hwaddr(access: u32, va: u64) -> *mut c_void;
    fn qemu_plugin_hwaddr_is_io(address: *const c_void) -> bool;
    fn qemu_plugin_hwaddr_phys_addr(address: *const c_void) -> u64;
    fn qemu_plugin_mem_size_shift(access: u32) -> c_uint;
    fn qemu_plugin_read_memory_vaddr(at: u64, into: *mut GByteArray, bytes: usize) -> bool;
}

const READS_REGISTERS: c_int = 1;
const WRITES: c_int = 2;
const NOT_EQUAL: c_int = 3;

impl Info {
    /// How many CPUs the machine has.
    pub(crate) fn cpus(&self) -> usize {
        usize::try_from(self.cpus).unwrap_or(0)
    }
}

/// The arguments.
///
/// # Safety
/// `count` strings are at `strings`.
pub(crate) unsafe fn words(count: c_int, strings: *const *const c_char) -> Vec<String> {
    (0..usize::try_from(count).unwrap_or(0))
        .map(|index| {
            // SAFETY: as the caller promises.
            let word = unsafe { CStr::from_ptr(*strings.add(index)) };
            word.to_string_lossy().into_owned()
        })
        .collect()
}

/// Has QEMU call when a CPU is made, code is translated, and the machine ends.
pub(crate) fn on_events(id: u64, cpu: OnCpu, translation: OnTranslation, end: OnEnd) {
    // SAFETY: the functions are of the types that QEMU calls, and never go away.
    unsafe {
        qemu_plugin_register_vcpu_init_cb(id, cpu);
        qemu_plugin_register_vcpu_tb_trans_cb(id, translation);
        qemu_plugin_register_atexit_cb(id, end, null_mut());
    }
}

thread_local! {
    /// Where QEMU puts what a register or memory holds, made at the first use.
    static BUFFER: Cell<*mut GByteArray> = const { Cell::new(null_mut()) };
}

/// This thread's buffer, with nothing in it.
fn buffer() -> *mut GByteArray {
    // SAFETY: the buffer is this thread's, and GLib's.
    unsafe {
        if BUFFER.get().is_null() {
            BUFFER.set(g_byte_array_new());
        }
        g_byte_array_set_size(BUFFER.get(), 0)
    }
}

/// Two words at a virtual address of the CPU that asks, as it would find them; `None` where it finds nothing.
pub(crate) fn words_at(va: u64) -> Option<[u64; 2]> {
    let mut words = [0u64; 2];
    // SAFETY: the buffer is this thread's, and as long as its `len` says.
    unsafe {
        let buffer = buffer();
        let is_read = qemu_plugin_read_memory_vaddr(va, buffer, size_of_val(&words));
        if !is_read || (*buffer).len as usize != size_of_val(&words) {
            return None;
        }
        core::ptr::copy_nonoverlapping((*buffer).data, words.as_mut_ptr().cast(), 16);
    }
    Some(words.map(u64::from_le))
}

/// A register of the CPU that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register(*mut c_void);

// SAFETY: the handle is a name to QEMU, the same on all CPUs.
unsafe impl Send for Register {}
// SAFETY: as above.
unsafe impl Sync for Register {}

impl Register {
    /// What it holds, as 64 bits.
    pub(crate) fn read(self) -> u64 {
        let mut value = [0; 8];
        // SAFETY: the handle is QEMU's. The buffer is this thread's, and as long as its `len` says.
        unsafe {
            let buffer = buffer();
            qemu_plugin_read_register(self.0, buffer);
            let bytes = ((*buffer).len as usize).min(value.len());
            core::ptr::copy_nonoverlapping((*buffer).data, value.as_mut_ptr(), bytes);
        }
        u64::from_le_bytes(value)
    }
}

/// The registers that are asked for.
#[derive(Debug)]
pub(crate) struct Registers {
    pub(crate) pstate: Register,
    pub(crate) hcr: Register,
    pub(crate) vttbr: Register,
    pub(crate) vtcr: Register,
    pub(crate) vmpidr: Register,
    /// ID_AA64MMFR0_EL1 to ID_AA64MMFR2_EL1, ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1.
    pub(crate) ids: [Register; 5],
    general: Vec<Register>,
}

impl Registers {
    /// All of them, or the name of one that QEMU does not tell.
    pub(crate) fn find() -> Result<Self, String> {
        // SAFETY: QEMU gives an array of descriptors, with names that end.
        let all: Vec<(String, Register)> = unsafe {
            let array = qemu_plugin_get_registers();
            let first = (*array).data.cast::<Descriptor>().cast_const();
            let descriptors = (0..(*array).len as usize).map(|index| &*first.add(index));
            descriptors
                .map(|found| {
                    let name = CStr::from_ptr(found.name).to_string_lossy().into_owned();
                    (name, Register(found.handle))
                })
                .collect()
        };
        let get = |name: &str| {
            let found = all.iter().find(|(known, _)| known == name);
            found
                .map(|&(_, register)| register)
                .ok_or_else(|| name.to_owned())
        };
        Ok(Self {
            pstate: get("cpsr")?,
            hcr: get("HCR_EL2")?,
            vttbr: get("VTTBR_EL2")?,
            vtcr: get("VTCR_EL2")?,
            vmpidr: get("VMPIDR_EL2")?,
            ids: [
                get("ID_AA64MMFR0_EL1")?,
                get("ID_AA64MMFR1_EL1")?,
                get("ID_AA64MMFR2_EL1")?,
                get("ID_AA64ISAR0_EL1")?,
                get("ID_AA64ISAR1_EL1")?,
            ],
            general: (0..31)
                .map(|number| get(&format!("x{number}")))
                .collect::<Result<_, _>>()?,
        })
    }

    /// A general register; 31 is XZR.
    pub(crate) fn operand(&self, number: u32) -> u64 {
        self.general
            .get(number as usize)
            .map_or(0, |register| register.read())
    }
}

/// A number for each CPU.
pub(crate) struct Scores(ScoreU64);

// SAFETY: QEMU keeps one slot for each CPU, and each CPU uses its own.
unsafe impl Send for Scores {}
// SAFETY: as above.
unsafe impl Sync for Scores {}

impl Scores {
    /// All 0.
    pub(crate) fn new() -> Self {
        // SAFETY: it has no duties.
        let score = unsafe { qemu_plugin_scoreboard_new(8) };
        Self(ScoreU64 { score, offset: 0 })
    }

    /// The number of the CPU that calls becomes another; gives the one before.
    pub(crate) fn replace(&self, cpu: c_uint, value: u64) -> u64 {
        // The slots are one array. Asking for that of a CPU fails where it runs before it was announced.
        // SAFETY: QEMU has room for every CPU, and the slot is this CPU's own.
        unsafe {
            let first = qemu_plugin_scoreboard_find(self.0.score, 0).cast::<u64>();
            core::ptr::replace(first.add(cpu as usize), value)
        }
    }
}

/// Has QEMU call where this block runs on a CPU whose number is another, with the block's.
pub(crate) fn on_change(block: *mut c_void, scores: &Scores, number: u64, call: OnExecution) {
    // SAFETY: the block is QEMU's, and being translated. The function never goes away.
    unsafe {
        qemu_plugin_register_vcpu_tb_exec_cond_cb(
            block,
            call,
            READS_REGISTERS,
            NOT_EQUAL,
            scores.0,
            number,
            number as *mut c_void,
        );
    }
}

/// An instruction of a block that is being translated.
#[derive(Clone, Copy)]
pub(crate) struct Instruction(*mut c_void);

/// Those of a block that is being translated.
pub(crate) fn instructions(block: *mut c_void) -> impl Iterator<Item = Instruction> {
    // SAFETY: the block is QEMU's, and being translated.
    let count = unsafe { qemu_plugin_tb_n_insns(block) };
    (0..count).map(move |index| {
        // SAFETY: as above, and the index is below their number.
        Instruction(unsafe { qemu_plugin_tb_get_insn(block, index) })
    })
}

impl Instruction {
    pub(crate) fn pc(self) -> u64 {
        // SAFETY: it is of a block that is being translated.
        unsafe { qemu_plugin_insn_vaddr(self.0) }
    }

    pub(crate) fn word(self) -> u32 {
        let mut word = [0u8; 4];
        // SAFETY: as above; QEMU writes no more than it is told.
        unsafe { qemu_plugin_insn_data(self.0, word.as_mut_ptr().cast(), word.len()) };
        u32::from_le_bytes(word)
    }

    /// Has QEMU call after each of its stores.
    pub(crate) fn on_store(self, call: OnAccess, user: u64) {
        // SAFETY: as above. The function never goes away.
        unsafe {
            qemu_plugin_register_vcpu_mem_cb(
                self.0,
                call,
                READS_REGISTERS,
                WRITES,
                user as *mut c_void,
            );
        }
    }

    /// Has QEMU call before each of its executions.
    pub(crate) fn on_execution(self, call: OnExecution, user: u64) {
        // SAFETY: as above. The function never goes away.
        unsafe {
            qemu_plugin_register_vcpu_insn_exec_cb(
                self.0,
                call,
                READS_REGISTERS,
                user as *mut c_void,
            );
        }
    }
}

/// Where an access is in memory; `None` for a device's. For whom QEMU calls after a store.
pub(crate) fn physical(access: u32, va: u64) -> Option<u64> {
    // SAFETY: QEMU gives an address that is good until the call ends, or none.
    unsafe {
        let address = qemu_plugin_get_hwaddr(access, va);
        let is_memory = !address.is_null() && !qemu_plugin_hwaddr_is_io(address);
        is_memory.then(|| qemu_plugin_hwaddr_phys_addr(address))
    }
}

/// How many bytes an access has.
pub(crate) fn bytes(access: u32) -> u64 {
    // SAFETY: it has no duties.
    1 << unsafe { qemu_plugin_mem_size_shift(access) }
}
