//! Does it: guests that read and write all over their memory, and the acts on that.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region, kvm_vcpu_init};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use rustix::io::Errno;

use super::{Act, PAGES, Plan, Step};
use crate::vcpu::{PC, X0, set};
use crate::{During as _, Failure};

const PAGE: usize = 4096;
const BYTES: usize = PAGES as usize * PAGE;
const HUGE: usize = 2 << 20;
/// Where a guest has its memory, where it is moved to, its code, and a device that is not there.
const RAM: u64 = 0x8000_0000;
const ELSEWHERE: u64 = 0xc000_0000;
const CODE: u64 = 0x1000_0000;
const DEVICE: u64 = 0x0900_0000;
const CODE_SLOT: u32 = 0;
const RAM_SLOT: u32 = 1;

/// X2 goes through X0 in steps of X4, wraps by the mask X1, and adds 1 to what is there; each 256th time to a device.
const PROGRAM: [u32; 10] = [
    0x8b04_0042, // add x2, x2, x4
    0x8a01_0042, // and x2, x2, x1
    0xf862_6805, // ldr x5, [x0, x2]
    0x9100_04a5, // add x5, x5, #1
    0xf822_6805, // str x5, [x0, x2]
    0x9100_04c6, // add x6, x6, #1
    0xf240_1cdf, // tst x6, #0xff
    0x54ff_ff21, // b.ne to the start
    0xf900_0066, // str x6, [x3]
    0x17ff_fff7, // b to the start
];

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        bytes: usize,
        access: c_int,
        flags: c_int,
        file: c_int,
        from: i64,
    ) -> *mut c_void;
    fn munmap(at: *mut c_void, bytes: usize) -> c_int;
    fn madvise(at: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    fn mprotect(at: *mut c_void, bytes: usize, access: c_int) -> c_int;
    fn fork() -> c_int;
    fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

const READ: c_int = 1;
const READ_WRITE: c_int = 3;
const PRIVATE_ANONYMOUS: c_int = 0x22;
const DONT_NEED: c_int = 4;
const HUGE_PAGES: c_int = 14;
const NO_HUGE_PAGES: c_int = 15;
const COLD: c_int = 20;
const PAGE_OUT: c_int = 21;
const COLLAPSE: c_int = 25;

/// Memory of this process that guests have.
struct Memory {
    whole: *mut c_void,
    bytes: usize,
    /// Where it begins, at a multiple of a huge page.
    at: *mut c_void,
}

impl Memory {
    fn new(bytes: usize) -> Result<Self, Failure> {
        let whole_bytes = bytes + HUGE;
        // SAFETY: a new mapping, where the kernel likes.
        let whole = unsafe {
            mmap(
                null_mut(),
                whole_bytes,
                READ_WRITE,
                PRIVATE_ANONYMOUS,
                -1,
                0,
            )
        };
        if whole.addr() == usize::MAX {
            return Err(Failure::new("there is no memory for a guest"));
        }
        let offset = whole.addr().next_multiple_of(HUGE) - whole.addr();
        Ok(Self {
            whole,
            bytes: whole_bytes,
            at: whole.wrapping_byte_add(offset),
        })
    }

    /// Advice that the kernel may refuse: it has not what it is about, or nothing to do.
    fn advise(&self, (first, bytes): (usize, usize), advice: c_int) {
        // SAFETY: the pages are this mapping's, in which no value of this program is.
        unsafe { madvise(self.at.wrapping_byte_add(first), bytes, advice) };
    }

    fn protect(&self, (first, bytes): (usize, usize), access: c_int) {
        // SAFETY: as above; guests meet it, whose accesses end their run with EFAULT.
        unsafe { mprotect(self.at.wrapping_byte_add(first), bytes, access) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is its own, and its guest has ended.
        unsafe { munmap(self.whole, self.bytes) };
    }
}

/// A guest that runs.
struct Guest {
    vm: VmFd,
    stop: Arc<AtomicBool>,
    vcpus: Vec<JoinHandle<Result<(), Failure>>>,
    ram: Memory,
    /// Its program.
    code: Memory,
}

/// Carries the plan out; says what was done.
///
/// # Errors
/// If KVM refuses what it must not, or a guest ends.
pub fn run(plan: Plan) -> Result<(), Failure> {
    let kvm = Kvm::new().during("cannot open /dev/kvm")?;
    let exits = Arc::new(AtomicU64::new(0));
    let start = || Guest::start(&kvm, plan.vcpus, &exits);
    let mut guests = (0..plan.vms)
        .map(|_| start())
        .collect::<Result<Vec<_>, _>>()?;
    for (round, step) in (1u32..).zip(plan.steps()) {
        if step.act == Act::Restart {
            let old = core::mem::replace(&mut guests[step.vm], start()?);
            old.end()?;
        } else {
            guests[step.vm].act(step)?;
        }
        wait(3);
        if round.is_multiple_of(50) {
            println!("stress: {round} rounds, {} exits", exits.load(Relaxed));
        }
    }
    for guest in guests {
        guest.end()?;
    }
    println!(
        "stress: {} rounds, {} exits: ok",
        plan.rounds,
        exits.load(Relaxed)
    );
    Ok(())
}

/// So that guests come to what was changed; how far is no matter.
fn wait(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds));
}

impl Guest {
    fn start(kvm: &Kvm, vcpus: u32, exits: &Arc<AtomicU64>) -> Result<Self, Failure> {
        let vm = kvm.create_vm().during("KVM makes no virtual machine")?;
        let (ram, code) = (Memory::new(BYTES)?, Memory::new(PAGE)?);
        // SAFETY: the code's mapping is writable, aligned, and larger.
        unsafe { code.at.cast::<[u32; 10]>().write(PROGRAM) };
        let stop = Arc::new(AtomicBool::new(false));
        let mut guest = Self {
            vm,
            stop,
            vcpus: Vec::new(),
            ram,
            code,
        };
        let code = guest.code.at.addr() as u64;
        guest.region((CODE_SLOT, 0), CODE, PAGE, code)?;
        guest.ram(RAM, BYTES, 0)?;
        for number in 0..u64::from(vcpus) {
            let vcpu = guest.vm.create_vcpu(number).during("KVM makes no vCPU")?;
            let mut init = kvm_vcpu_init::default();
            guest
                .vm
                .get_preferred_target(&mut init)
                .during("KVM knows no kind of vCPU")?;
            vcpu.vcpu_init(&init).during("KVM cannot reset the vCPU")?;
            let registers = [
                RAM,
                BYTES as u64 - 8,
                number << 16,
                DEVICE,
                0x3008 + (number << 12),
            ];
            for (index, value) in (0..).zip(registers) {
                set(&vcpu, X0 + 2 * index, value)?;
            }
            set(&vcpu, PC, CODE)?;
            let (stop, exits) = (Arc::clone(&guest.stop), Arc::clone(exits));
            guest
                .vcpus
                .push(thread::spawn(move || run_vcpu(vcpu, &stop, &exits)));
        }
        Ok(guest)
    }

    fn end(self) -> Result<(), Failure> {
        self.stop.store(true, Relaxed);
        for vcpu in self.vcpus {
            vcpu.join()
                .map_err(|_| Failure::new("a vCPU's thread panicked"))??;
        }
        Ok(())
    }

    fn region(
        &self,
        (slot, flags): (u32, u32),
        ipa: u64,
        bytes: usize,
        at: u64,
    ) -> Result<(), Failure> {
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: ipa,
            memory_size: bytes as u64,
            userspace_addr: at,
        };
        // SAFETY: the mapping is this guest's, outlives its vCPUs, and has no value of this program in it.
        unsafe { self.vm.set_user_memory_region(region) }.during("KVM refuses the guest's memory")
    }

    /// The guest's memory is here from now on, with these flags; nowhere if it has no bytes.
    fn ram(&self, ipa: u64, bytes: usize, flags: u32) -> Result<(), Failure> {
        self.region((RAM_SLOT, flags), ipa, bytes, self.ram.at.addr() as u64)
    }

    fn act(&self, step: Step) -> Result<(), Failure> {
        let (ram, all) = (&self.ram, (0, BYTES));
        let some = (step.first as usize * PAGE, step.pages as usize * PAGE);
        match step.act {
            Act::Unmap => ram.advise(some, DONT_NEED),
            Act::Protect => {
                ram.protect(some, READ);
                wait(2);
                ram.protect(some, READ_WRITE);
            }
            Act::LogDirty => {
                self.ram(RAM, BYTES, KVM_MEM_LOG_DIRTY_PAGES)?;
                for _ in 0..2 {
                    wait(4);
                    self.vm
                        .get_dirty_log(RAM_SLOT, BYTES)
                        .during("KVM does not say what was written")?;
                }
                self.ram(RAM, BYTES, 0)?;
            }
            Act::Delete => {
                self.ram(RAM, 0, 0)?;
                self.ram(RAM, BYTES, 0)?;
            }
            Act::Move => {
                self.ram(ELSEWHERE, BYTES, 0)?;
                wait(1);
                self.ram(RAM, BYTES, 0)?;
            }
            Act::Collapse => {
                ram.advise(all, HUGE_PAGES);
                ram.advise(all, COLLAPSE);
                // Where the kernel collapses nothing on demand, new pages are huge.
                wait(5);
                ram.advise(all, DONT_NEED);
                wait(10);
            }
            Act::Split => {
                ram.advise(all, NO_HUGE_PAGES);
                ram.advise(some, DONT_NEED);
            }
            Act::Fork => {
                // SAFETY: the child touches nothing and goes at once.
                let child = unsafe { fork() };
                if child == 0 {
                    wait(5);
                    // SAFETY: it has no duties.
                    unsafe { _exit(0) };
                }
                wait(2);
                // SAFETY: it is this process's child, and nobody is told how it ended.
                unsafe { waitpid(child, null_mut(), 0) };
            }
            Act::Reclaim => {
                ram.advise(some, COLD);
                ram.advise(some, PAGE_OUT);
                wait(2);
            }
            Act::Restart => {}
        }
        Ok(())
    }
}

fn run_vcpu(mut vcpu: VcpuFd, stop: &AtomicBool, exits: &AtomicU64) -> Result<(), Failure> {
    while !stop.load(Relaxed) {
        match vcpu.run() {
            // The device, or memory that is away for now.
            Ok(VcpuExit::MmioRead(_, data)) => data.fill(0),
            Ok(VcpuExit::MmioWrite(..)) => {}
            Ok(exit) => return Err(Failure::new(format!("a guest ended by {exit:?}"))),
            // A signal, or a write to what is read-only for now.
            Err(error)
                if [Errno::INTR, Errno::AGAIN, Errno::FAULT]
                    .map(Errno::raw_os_error)
                    .contains(&error.errno()) =>
            {
                thread::yield_now();
            }
            Err(error) => return Err(Failure::new(format!("KVM cannot run a guest: {error}"))),
        }
        exits.fetch_add(1, Relaxed);
    }
    Ok(())
}
