//! The recorder of `droste judge`, as a TCG plugin: tells what EL2 executes in QEMU to a
//! [`Recorder`], which decides what of it is an event.
//!
//! QEMU's own block flags hold the exception level and whether EL2's regime is a host's, so who executes is asked where code
//! is translated, and where another kind of block runs than before. Code of guests costs no more than that. Of EL2's, and of a
//! host's kernel, each store is seen, and each instruction that [`decode`] knows.
//!
//! Arguments: `out=FILE`, where events go; `ram=FILE`, the shared file that is the machine's memory; `base=ADDRESS`, where
//! that begins. It needs `thread=multi`: with one thread for two CPUs QEMU 10.0 translates what counts by CPU wrongly.

mod qemu;
mod ram;

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::BufWriter;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use droste_judge::decode::{self, Op, Order};
use droste_judge::{Loaded, Machine, Recorder, Sight, Store, Watched, Who};

use crate::qemu::{Registers, Scores};
use crate::ram::Ram;

/// An instruction that is of interest whenever it is executed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Site {
    pc: u64,
    word: u32,
}

/// What is known from the start.
struct Plugin {
    out: String,
    ram: Ram,
    cpus: usize,
    /// By CPU, who executes: what [`number`] makes of it.
    scores: Scores,
    /// Instructions that QEMU has been given pointers to.
    sites: Mutex<HashMap<Site, &'static Site>>,
}

/// What is known from when the first CPU is there.
struct Recording {
    registers: Registers,
    watched: Arc<Watched>,
    /// Until the end.
    recorder: Mutex<Option<Recorder<BufWriter<File>>>>,
}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();
static RECORDING: OnceLock<Recording> = OnceLock::new();

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// In QEMU's slots, where 0 is a CPU that has not run.
const fn number(who: Who) -> u64 {
    match who {
        Who::Firmware => 1,
        Who::El2 => 2,
        Who::HostUser => 3,
        Who::HostKernel => 4,
        Who::Guest => 5,
    }
}

const fn who(number: u64) -> Who {
    match number {
        2 => Who::El2,
        3 => Who::HostUser,
        4 => Who::HostKernel,
        5 => Who::Guest,
        _ => Who::Firmware,
    }
}

impl Recording {
    /// Who executes on the CPU that calls.
    fn who(&self) -> Who {
        Who::of(self.registers.pstate.read(), self.registers.hcr.read())
    }

    fn with(&self, plugin: &Plugin, call: impl FnOnce(&mut Recorder<BufWriter<File>>, Sight<'_>)) {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(recorder) = recorder.as_mut() {
            let sight = Sight {
                ram: &|at| plugin.ram.read(at),
                frame: &|| self.registers.operand(29),
                memory: &qemu::words_at,
            };
            call(recorder, sight);
        }
    }
}

/// Both, where events can be told.
fn both() -> Option<(&'static Plugin, &'static Recording)> {
    PLUGIN.get().zip(RECORDING.get())
}

extern "C" fn on_cpu(_id: u64, _cpu: c_uint) {
    let Some(plugin) = PLUGIN.get() else {
        return;
    };
    RECORDING.get_or_init(|| {
        let registers = Registers::find().unwrap_or_else(|name| {
            give_up(&format!("QEMU does not tell the register {name}"));
        });
        let machine = Machine {
            cpus: plugin.cpus,
            base: plugin.ram.base(),
            bytes: plugin.ram.bytes(),
            ids: registers.ids.map(qemu::Register::read),
        };
        let out = File::create(&plugin.out);
        let out =
            out.unwrap_or_else(|error| give_up(&format!("cannot write {}: {error}", plugin.out)));
        let recorder = Recorder::new(&machine, BufWriter::with_capacity(BUFFER, out));
        Recording {
            registers,
            watched: recorder.watched(),
            recorder: Mutex::new(Some(recorder)),
        }
    });
}

extern "C" fn on_translation(_id: u64, block: *mut c_void) {
    let Some((plugin, recording)) = both() else {
        return;
    };
    let who = recording.who();
    qemu::on_change(block, &plugin.scores, number(who), on_change);
    if !who.is_watched() {
        return;
    }
    for instruction in qemu::instructions(block) {
        let site = Site {
            pc: instruction.pc(),
            word: instruction.word(),
        };
        match decode::op(site.word) {
            Op::Other => {}
            // Instructions are multiples of 4 bytes, so the low bit is free.
            Op::Store(order) => {
                instruction.on_store(on_store, site.pc | u64::from(order == Order::Release));
            }
            _ => {
                let mut sites = plugin.sites.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = sites
                    .entry(site)
                    .or_insert_with(|| Box::leak(Box::new(site)));
                instruction.on_execution(on_execution, core::ptr::from_ref::<Site>(kept) as u64);
            }
        }
    }
}

/// Another executes on this CPU than before.
extern "C" fn on_change(cpu: c_uint, user: *mut c_void) {
    let Some((plugin, recording)) = both() else {
        return;
    };
    let to = user as u64;
    let from = plugin.scores.replace(cpu, to);
    let registers = &recording.registers;
    let loaded = Loaded {
        vttbr: registers.vttbr.read(),
        vtcr: registers.vtcr.read(),
        hcr: registers.hcr.read(),
        vmpidr: registers.vmpidr.read(),
    };
    recording.with(plugin, |recorder, sight| {
        recorder.change(cpu as usize, (who(from), who(to)), loaded, sight);
    });
}

extern "C" fn on_store(cpu: c_uint, access: u32, va: u64, user: *mut c_void) {
    let Some((plugin, recording)) = both() else {
        return;
    };
    let Some(pa) = qemu::physical(access, va).filter(|&pa| recording.watched.has(pa)) else {
        return;
    };
    let site = user as u64;
    let store = Store {
        pc: site & !1,
        va,
        pa,
        bytes: qemu::bytes(access),
        order: if site & 1 != 0 {
            Order::Release
        } else {
            Order::Plain
        },
    };
    recording.with(plugin, |recorder, sight| {
        recorder.store(cpu as usize, &store, sight);
    });
}

extern "C" fn on_execution(cpu: c_uint, user: *mut c_void) {
    let Some((plugin, recording)) = both() else {
        return;
    };
    // SAFETY: the pointer is one that `on_translation` has made of a site that is never freed.
    let Site { pc, word } = unsafe { *user.cast::<Site>() };
    let operand = match decode::op(word) {
        Op::Tlbi | Op::Vttbr | Op::Vtcr | Op::Hcr | Op::DcZva => {
            recording.registers.operand(decode::register(word))
        }
        _ => 0,
    };
    recording.with(plugin, |recorder, sight| {
        recorder.execute(cpu as usize, pc, word, operand, sight);
    });
}

extern "C" fn on_end(_id: u64, _user: *mut c_void) {
    let Some(recording) = RECORDING.get() else {
        return;
    };
    let recorder = recording.recorder.lock();
    let recorder = recorder.unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Err(error)) = recorder.map(Recorder::end) {
        eprintln!("droste judge: the recorder cannot write: {error}");
    }
}

fn give_up(why: &str) -> ! {
    eprintln!("droste judge: {why}");
    std::process::exit(1);
}

/// The version of QEMU's plugin interface that this is made for: that of QEMU 9.2 to 10.0. Later ones accept it.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 4;

/// QEMU has loaded the plugin.
///
/// # Safety
/// QEMU calls it, with `info` as its interface has it and `count` strings at `strings`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const qemu::Info,
    count: c_int,
    strings: *const *const c_char,
) -> c_int {
    // SAFETY: as the caller promises.
    let (info, words) = unsafe { (&*info, qemu::words(count, strings)) };
    match prepare(info.cpus(), &words) {
        Ok(plugin) => {
            if PLUGIN.set(plugin).is_err() {
                eprintln!("droste judge: the recorder is loaded twice");
                return 1;
            }
            qemu::on_events(id, on_cpu, on_translation, on_end);
            0
        }
        Err(why) => {
            eprintln!("droste judge: {why}");
            1
        }
    }
}

fn prepare(cpus: usize, words: &[String]) -> Result<Plugin, String> {
    let argument = |name: &str| {
        let value = words.iter().find_map(|word| word.strip_prefix(name));
        value.ok_or_else(|| format!("the recorder needs {name}"))
    };
    let base = argument("base=")?;
    let base = u64::from_str_radix(base.trim_start_matches("0x"), 16);
    let base = base.map_err(|error| format!("base= is no address: {error}"))?;
    Ok(Plugin {
        out: argument("out=")?.to_owned(),
        ram: Ram::map(argument("ram=")?, base)?,
        cpus,
        scores: Scores::new(),
        sites: Mutex::default(),
    })
}
