//! A machine whose hardware is a note of what is loaded, and whose guests do as they are told, one act after another.
//! It objects to whatever must not be.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use droste_life::{Cpu, Kick, Lives, Member, Phase, RunState, schedule, switch_off};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

/// What a vCPU does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Nothing that anybody sees.
    Run,
    /// Takes a context, and keeps it.
    Hold,
    /// Switches a vCPU on.
    On(usize),
    /// Switches itself off.
    Off,
    /// Sends an interrupt to a vCPU.
    Send(usize),
    /// Waits until an interrupt has come.
    Receive,
    /// Runs until an interrupt has come.
    Spin,
    /// Stops its virtual machine.
    Stop(RunState),
}

/// A virtual machine that is to be.
pub(crate) struct Plan {
    /// By vCPU: its physical one, and what it does in every life. Behind the end it waits for ever.
    pub(crate) vcpus: Vec<(usize, Vec<Act>)>,
    /// How many lives it has at most.
    pub(crate) lives: u32,
    /// How the last of them ends.
    pub(crate) run_state: RunState,
}

/// Power as firmware knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Off,
    Pending,
    On,
}

struct Vm {
    plan: Plan,
    lives: Lives<State>,
    power: Mutex<Vec<Power>>,
    interrupts: Vec<Mutex<bool>>,
    kicks: Vec<Kick>,
    /// Contexts in use.
    contexts: AtomicU32,
    /// How often the home was told that the last one has left.
    told: AtomicU32,
    /// Steps of work since it rests.
    steps: AtomicU32,
}

/// Registers of a vCPU.
pub(crate) struct State {
    world: Arc<World>,
    vm: usize,
    vcpu: usize,
    life: u32,
    next: usize,
    has_context: bool,
}

impl Drop for State {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(!self.has_context, "a context is lost with its registers");
        }
    }
}

#[derive(Default)]
struct Physical {
    is_told: Mutex<bool>,
    bell: Condvar,
    /// Virtual machine, vCPU and life of what is loaded.
    hardware: Mutex<Option<(usize, usize, u32)>>,
}

pub(crate) struct World {
    vms: Vec<Vm>,
    cpus: Vec<Physical>,
    gone: AtomicU32,
}

/// Steps that it takes to make a virtual machine ready.
const STEPS: u32 = 3;
/// Acts and steps in a time slice.
const SLICE: u32 = 2;

impl World {
    fn new(cpus: usize, plans: Vec<Plan>) -> Arc<Self> {
        let vms = plans.into_iter().map(|plan| Vm {
            lives: Lives::new(plan.vcpus.len()),
            power: Mutex::new(Vec::new()),
            interrupts: plan.vcpus.iter().map(|_| Mutex::new(false)).collect(),
            kicks: plan.vcpus.iter().map(|_| Kick::new()).collect(),
            contexts: AtomicU32::new(0),
            told: AtomicU32::new(0),
            steps: AtomicU32::new(0),
            plan,
        });
        Arc::new(Self {
            vms: vms.collect(),
            cpus: (0..cpus).map(|_| Physical::default()).collect(),
            gone: AtomicU32::new(0),
        })
    }

    fn tell(&self, cpu: usize) {
        *self.cpus[cpu].is_told.lock().expect("no test goes on") = true;
        self.cpus[cpu].bell.notify_one();
    }

    fn tell_all_of(&self, vm: usize) {
        for (cpu, _) in &self.vms[vm].plan.vcpus {
            self.tell(*cpu);
        }
    }

    fn state(self: &Arc<Self>, vm: usize, vcpu: usize, life: u32) -> State {
        State {
            world: self.clone(),
            vm,
            vcpu,
            life,
            next: 0,
            has_context: false,
        }
    }
}

/// Runs the plans on so many physical CPUs, to the end.
pub(crate) fn run(cpus: usize, plans: Vec<Plan>) {
    let world = World::new(cpus, plans);
    let threads: Vec<_> = (1..cpus)
        .map(|cpu| {
            let world = world.clone();
            thread::spawn(move || Thread::new(world, cpu).run())
        })
        .collect();
    // As at boot: the others run already.
    for (n, vm) in world.vms.iter().enumerate() {
        assert!(vm.lives.open());
        world.tell(world.vms[n].plan.vcpus[0].0);
    }
    Thread::new(world.clone(), 0).run();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    for vm in &world.vms {
        assert_eq!(vm.lives.phase(), Phase::Gone);
        assert_eq!(vm.lives.run_state(), vm.plan.run_state);
        assert_eq!(vm.lives.life(), vm.plan.lives, "lives");
        assert_eq!(vm.contexts.load(SeqCst), 0, "contexts that nobody has");
    }
    for cpu in &world.cpus {
        assert_eq!(*cpu.hardware.lock().expect("ended"), None);
    }
}

/// A physical CPU.
struct Thread {
    world: Arc<World>,
    cpu: usize,
    members: Vec<(usize, usize)>,
    last: usize,
    used: u32,
}

impl Thread {
    fn new(world: Arc<World>, cpu: usize) -> Self {
        let vcpus = |(n, vm): (usize, &Vm)| {
            let mine = vm.plan.vcpus.iter().enumerate();
            let mine = mine.filter(move |(_, (on, _))| *on == cpu);
            mine.map(move |(vcpu, _)| (n, vcpu)).collect::<Vec<_>>()
        };
        let members = world.vms.iter().enumerate().flat_map(vcpus).collect();
        Self {
            world,
            cpu,
            members,
            last: 0,
            used: 0,
        }
    }

    fn run(mut self) {
        let mut current = None;
        while let Ok(state) = schedule(&mut self, current) {
            current = self.act(state);
        }
    }

    fn physical(&self) -> &Physical {
        &self.world.cpus[self.cpu]
    }

    /// What came since it was looked at last.
    fn take_interrupts(&mut self, state: Option<&State>) {
        *self.physical().is_told.lock().expect("no test goes on") = false;
        if let Some(state) = state {
            self.world.vms[state.vm].kicks[state.vcpu].take();
        }
    }

    /// The guest runs for one act.
    fn act(&mut self, mut state: State) -> Option<State> {
        let world = self.world.clone();
        let vm = &world.vms[state.vm];
        assert!(self.used < SLICE, "its time slice is over");
        self.used += 1;
        assert_eq!(state.life, vm.lives.life(), "it runs in a life not its own");
        assert!(matches!(vm.lives.phase(), Phase::Running | Phase::Stopping));
        let acts = &vm.plan.vcpus[state.vcpu].1;
        let act = acts.get(state.next).copied();
        state.next += 1;
        match act {
            Some(Act::Run) => thread::yield_now(),
            Some(Act::Hold) => {
                assert!(!state.has_context);
                state.has_context = true;
                let held = vm.contexts.fetch_add(1, SeqCst);
                assert!((held as usize) < vm.plan.vcpus.len(), "more than there are");
            }
            Some(Act::On(target)) => on(&world, &state, target),
            Some(Act::Off) => {
                let (n, vcpu) = (state.vm, state.vcpu);
                if switch_off(self, state) {
                    world.tell_all_of(n);
                }
                vm.power.lock().expect("no test goes on")[vcpu] = Power::Off;
                return None;
            }
            Some(Act::Send(target)) => {
                *vm.interrupts[target].lock().expect("no test goes on") = true;
                if vm.kicks[target].give() {
                    world.tell(vm.plan.vcpus[target].0);
                }
            }
            Some(Act::Receive | Act::Spin) => {
                let mut came = vm.interrupts[state.vcpu].lock().expect("no test goes on");
                if !core::mem::take(&mut *came) {
                    state.next -= 1;
                    if act == Some(Act::Receive) {
                        vm.lives.wait(state.vcpu);
                    }
                }
            }
            Some(Act::Stop(run_state)) => {
                if vm.lives.stop(run_state) {
                    world.tell_all_of(state.vm);
                }
            }
            None => vm.lives.wait(state.vcpu),
        }
        self.take_interrupts(Some(&state));
        Some(state)
    }
}

/// Firmware's CPU_ON.
fn on(world: &Arc<World>, state: &State, target: usize) {
    let vm = &world.vms[state.vm];
    {
        let mut power = vm.power.lock().expect("no test goes on");
        if power[target] != Power::Off {
            return;
        }
        power[target] = Power::Pending;
    }
    vm.power.lock().expect("no test goes on")[target] = Power::On;
    let is_on = vm
        .lives
        .on(target, world.state(state.vm, target, state.life));
    if is_on {
        world.tell(vm.plan.vcpus[target].0);
    } else {
        let phase = vm.lives.phase();
        assert_eq!(phase, Phase::Stopping, "it was not switched on");
    }
}

impl Cpu for Thread {
    type State = State;
    type End = ();

    fn members(&self) -> usize {
        self.members.len()
    }

    fn member(&self, position: usize) -> Member<'_, State> {
        let (vm, index) = self.members[position];
        let vm = &self.world.vms[vm];
        Member {
            lives: &vm.lives,
            index,
            kick: &vm.kicks[index],
        }
    }

    fn position(&self, state: &State) -> usize {
        let is_it = |member: &(usize, usize)| *member == (state.vm, state.vcpu);
        self.members.iter().position(is_it).expect("a member")
    }

    fn last(&self) -> usize {
        self.last
    }

    fn put_in(&mut self, state: &mut State) {
        let vm = &self.world.vms[state.vm];
        let mut hardware = self.physical().hardware.lock().expect("no test goes on");
        assert_eq!(*hardware, None, "it is loaded over another");
        *hardware = Some((state.vm, state.vcpu, state.life));
        assert_eq!(state.life, vm.lives.life(), "of a life that is over");
        vm.kicks[state.vcpu].take();
    }

    fn take_out(&mut self, state: &mut State) {
        let mut hardware = self.physical().hardware.lock().expect("no test goes on");
        let mine = Some((state.vm, state.vcpu, state.life));
        assert_eq!(*hardware, mine, "another is loaded");
        *hardware = None;
    }

    fn give_up(_: usize, mut state: State) {
        let world = state.world.clone();
        for cpu in &world.cpus {
            let loaded = *cpu.hardware.lock().expect("no test goes on");
            let mine = (state.vm, state.vcpu, state.life);
            assert_ne!(loaded, Some(mine), "it is given up while it is loaded");
        }
        if core::mem::take(&mut state.has_context) {
            world.vms[state.vm].contexts.fetch_sub(1, SeqCst);
        }
    }

    fn tell_home(&mut self, position: usize) {
        let vm = self.members[position].0;
        self.world.vms[vm].told.fetch_add(1, SeqCst);
        self.world.tell(self.world.vms[vm].plan.vcpus[0].0);
    }

    fn has_pending(&mut self, state: &mut State) -> bool {
        let interrupts = &self.world.vms[state.vm].interrupts;
        *interrupts[state.vcpu].lock().expect("no test goes on")
    }

    fn is_due(&self, _: usize) -> bool {
        false
    }

    fn begin_slice(&mut self, position: usize) {
        self.last = position;
        self.used = 0;
    }

    fn is_slice_over(&self) -> bool {
        self.used >= SLICE
    }

    fn arm(&mut self) {}

    fn work(&mut self, position: usize) {
        let n = self.members[position].0;
        let world = self.world.clone();
        let vm = &world.vms[n];
        assert!(self.used < SLICE, "its time slice is over");
        self.used += 1;
        assert_eq!(vm.lives.phase(), Phase::Resting);
        let mine = *self.physical().hardware.lock().expect("no test goes on");
        assert_eq!(mine, None, "something is loaded where it is made ready");
        for cpu in &world.cpus {
            let loaded = *cpu.hardware.lock().expect("no test goes on");
            let is_of = loaded.is_some_and(|(vm, ..)| vm == n);
            assert!(!is_of, "it is loaded while it is made ready");
        }
        assert_eq!(vm.contexts.load(SeqCst), 0, "contexts outlive their life");
        assert_eq!(vm.told.load(SeqCst), vm.lives.life(), "once a life");
        let step = vm.steps.fetch_add(1, SeqCst);
        if step == 0 {
            let mut power = vm.power.lock().expect("no test goes on");
            *power = vec![Power::Off; vm.plan.vcpus.len()];
            power[0] = Power::On;
            for interrupt in &vm.interrupts {
                *interrupt.lock().expect("no test goes on") = false;
            }
        }
        let life = vm.lives.life() + 1;
        let goes_on = life <= vm.plan.lives
            && vm
                .lives
                .resting()
                .is_some_and(|why| matches!(why, RunState::Running | RunState::Reset));
        if step + 1 < STEPS {
        } else if goes_on {
            vm.steps.store(0, SeqCst);
            assert!(vm.lives.begin(world.state(n, 0, life)));
        } else {
            assert!(vm.lives.end(None));
            if world.gone.fetch_add(1, SeqCst) as usize + 1 == world.vms.len() {
                (0..world.cpus.len()).for_each(|cpu| world.tell(cpu));
            }
        }
        self.take_interrupts(None);
    }

    fn sleep(&mut self, current: Option<&mut State>) -> Result<(), ()> {
        {
            let mut told = self.physical().is_told.lock().expect("no test goes on");
            while !*told {
                if self.world.gone.load(SeqCst) as usize == self.world.vms.len() {
                    return Err(());
                }
                told = self.physical().bell.wait(told).expect("no test goes on");
            }
        }
        self.take_interrupts(current.as_deref());
        Ok(())
    }
}
