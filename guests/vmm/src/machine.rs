//! The virtual machine: put together, and run until it ends.

use crate::arguments::Arguments;
use crate::console::{Output, RawTerminal, pump};
use crate::devices::Devices;
use crate::layout::{GICD, GICR, SERIAL_SPI};
use crate::memory::Memory;
use crate::tree::{self, Facts};
use crate::{During as _, Failure, vcpu};
use kvm_bindings::{
    KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_CAP_ARM_NISV_TO_USER,
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS, KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST,
    kvm_create_device, kvm_device_attr, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, kvm_enable_cap,
};
use kvm_ioctls::{DeviceFd, Kvm, VcpuFd, VmFd};
use std::io::Write as _;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use vm_superio::Trigger;

/// Bits of the guest's physical addresses; fewer where KVM has fewer.
const IPA_BITS: u32 = 40;
/// The first shared peripheral interrupt's number (IHI 0069, 2.2).
const FIRST_SPI: u32 = 32;
/// How many interrupts the GIC has: the private ones, and as few others as there can be.
const INTERRUPTS: u32 = 64;
/// How long typed bytes wait for the guest to read the ones before.
const INPUT_WAIT: Duration = Duration::from_millis(5);

/// What the devices are to the threads of the vCPUs.
type Shared = Arc<Mutex<Devices<SerialInterrupt, Output>>>;

/// Runs the guest until it switches itself off.
///
/// # Errors
/// If it cannot be started, or ends in another way.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let memory = Memory::load(arguments)?;
    let kvm = Kvm::new().during("cannot open /dev/kvm")?;
    let ipa_bits = u32::try_from(kvm.get_host_ipa_limit())
        .unwrap_or(0)
        .clamp(1, IPA_BITS);
    let vm = kvm
        .create_vm_with_ipa_size(ipa_bits)
        .during("KVM makes no virtual machine")?;
    // An access whose syndrome does not describe it is the guest's affair; otherwise KVM ends the guest for it.
    vm.enable_cap(&kvm_enable_cap {
        cap: KVM_CAP_ARM_NISV_TO_USER,
        ..Default::default()
    })
    .during("KVM cannot hand on every access")?;
    memory.give_to(&vm)?;
    let vcpus = (0..arguments.vcpus)
        .map(|number| vcpu::create(&vm, number.into(), arguments.level))
        .collect::<Result<Vec<VcpuFd>, Failure>>()?;
    let _gic = interrupt_controller(&vm)?;
    let affinities = vcpus
        .iter()
        .map(vcpu::affinity)
        .collect::<Result<Vec<u64>, Failure>>()?;
    memory.put_tree(&tree::write(&Facts {
        affinities: &affinities,
        memory: arguments.memory,
        cmdline: &arguments.cmdline,
        level: arguments.level,
        initrd: arguments
            .initrd
            .as_ref()
            .map(|_| (memory.layout.initrd, memory.initrd_bytes)),
    })?)?;
    if let Some(first) = vcpus.first() {
        vcpu::start_at(first, memory.entry, memory.layout.tree)?;
    }
    let terminal = RawTerminal::enter()?;
    let ended = run_threads(vm, vcpus);
    drop(terminal);
    // The guest's memory must outlive its vCPUs, whose threads nobody ends: they go with the process.
    std::mem::forget(memory);
    ended
}

/// Starts a thread for each vCPU and one for the input, and waits for the first that has the guest's end.
fn run_threads(vm: VmFd, vcpus: Vec<VcpuFd>) -> Result<(), Failure> {
    let devices = Arc::new(Mutex::new(Devices::new(
        SerialInterrupt(vm),
        Output::open(),
    )));
    let (sender, ends) = mpsc::channel();
    for mut vcpu in vcpus {
        let (devices, sender) = (Arc::clone(&devices), sender.clone());
        spawn(move || {
            // The receiver is gone once the guest has ended.
            let _ = sender.send(vcpu::run(&mut vcpu, &devices));
        })?;
    }
    let input = Arc::clone(&devices);
    spawn(move || read_input(&input, &sender))?;
    let ended = ends
        .recv()
        .during("every thread ended without a word")
        .flatten();
    // What the guest said last may be no whole line.
    let flushed = std::io::stdout()
        .flush()
        .during("cannot write the guest's output");
    ended.and(flushed)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .spawn(work)
        .during("cannot start a thread")
        .map(drop)
}

/// Gives the guest what comes on stdin.
fn read_input(devices: &Shared, sender: &Sender<Result<(), Failure>>) {
    let is_over = pump(|mut typed| {
        while !typed.is_empty() {
            let taken = devices
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .receive(typed)?;
            typed = &typed[taken..];
            if !typed.is_empty() {
                thread::sleep(INPUT_WAIT);
            }
        }
        Ok(())
    });
    let end = match is_over {
        Ok(false) => return,
        Ok(true) => Failure::new("ended from the keyboard"),
        Err(failure) => failure,
    };
    // The receiver is gone once the guest has ended.
    let _ = sender.send(Err(end));
}

/// Makes the GICv3 for the vCPUs that are there.
fn interrupt_controller(vm: &VmFd) -> Result<DeviceFd, Failure> {
    let mut description = kvm_create_device {
        type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
        ..Default::default()
    };
    let gic = vm
        .create_device(&mut description)
        .during("KVM makes no GICv3")?;
    let (distributor, redistributors, interrupts) = (GICD, GICR, INTERRUPTS);
    let settings: [(u32, u32, u64); 4] = [
        (
            KVM_DEV_ARM_VGIC_GRP_ADDR,
            KVM_VGIC_V3_ADDR_TYPE_DIST,
            &raw const distributor as u64,
        ),
        (
            KVM_DEV_ARM_VGIC_GRP_ADDR,
            KVM_VGIC_V3_ADDR_TYPE_REDIST,
            &raw const redistributors as u64,
        ),
        (
            KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
            0,
            &raw const interrupts as u64,
        ),
        (KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0),
    ];
    for (group, attr, addr) in settings {
        let setting = kvm_device_attr {
            group,
            attr: attr.into(),
            addr,
            flags: 0,
        };
        gic.set_device_attr(&setting)
            .during("KVM cannot set up the GICv3")?;
    }
    Ok(gic)
}

/// The serial port's interrupt, on the rising edge.
struct SerialInterrupt(VmFd);

impl Trigger for SerialInterrupt {
    type E = kvm_ioctls::Error;

    fn trigger(&self) -> Result<(), Self::E> {
        let line = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (FIRST_SPI + SERIAL_SPI);
        self.0.set_irq_line(line, true)?;
        self.0.set_irq_line(line, false)
    }
}
