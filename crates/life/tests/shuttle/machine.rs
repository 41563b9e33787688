//! Whole machines, from the first life to the last end.

use droste_life::RunState;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use crate::world::{Act, Plan, run};

const SCHEDULES: usize = 150;

fn in_many_orders(cpus: usize, plans: fn() -> Vec<Plan>) {
    let trial = move || run(cpus, plans());
    Runner::new(RandomScheduler::new(SCHEDULES), Config::new()).run(trial);
    Runner::new(PctScheduler::new(3, SCHEDULES), Config::new()).run(trial);
}

/// One that resets itself until its lives are over.
fn resetting(vcpus: Vec<(usize, Vec<Act>)>, lives: u32) -> Plan {
    Plan {
        vcpus,
        lives,
        run_state: RunState::Reset,
    }
}

/// One that switches itself off.
fn ending(vcpus: Vec<(usize, Vec<Act>)>, run_state: RunState) -> Plan {
    Plan {
        vcpus,
        lives: 1,
        run_state,
    }
}

const RESET: Act = Act::Stop(RunState::Reset);
const OFF: Act = Act::Stop(RunState::Off);

#[test]
fn one_starts_anew_while_its_other_cpu_runs() {
    in_many_orders(2, || {
        let first = vec![Act::On(1), Act::Run, RESET];
        vec![resetting(vec![(0, first), (1, vec![Act::Run; 3])], 3)]
    });
}

#[test]
fn two_start_anew_beside_each_other_on_the_same_cpus() {
    in_many_orders(2, || {
        let plan = || {
            let first = vec![Act::On(1), RESET];
            resetting(vec![(0, first), (1, vec![Act::Run; 2])], 2)
        };
        vec![plan(), plan()]
    });
}

#[test]
fn a_cpu_comes_on_while_its_machine_is_stopped() {
    in_many_orders(3, || {
        vec![resetting(
            vec![
                (0, vec![Act::On(1), Act::On(2), Act::Run]),
                (1, vec![Act::On(2), RESET]),
                (2, vec![Act::Run]),
            ],
            2,
        )]
    });
}

#[test]
fn cpus_go_off_and_on_again_and_the_last_one_ends_it() {
    in_many_orders(2, || {
        vec![ending(
            vec![
                (0, vec![Act::On(1), Act::Run, Act::On(1), Act::Off]),
                (1, vec![Act::Hold, Act::Off]),
            ],
            RunState::Idle,
        )]
    });
}

#[test]
fn a_cpu_goes_off_while_its_machine_is_stopped() {
    in_many_orders(2, || {
        vec![resetting(
            vec![(0, vec![Act::On(1), RESET]), (1, vec![Act::Hold, Act::Off])],
            2,
        )]
    });
}

#[test]
fn contexts_come_back_whoever_leaves_last_and_wherever_it_is_loaded() {
    in_many_orders(2, || {
        let first = vec![Act::Hold, Act::On(1), Act::Run, RESET];
        vec![
            resetting(vec![(0, first), (1, vec![Act::Hold, Act::Run])], 3),
            ending(
                vec![(1, vec![Act::Hold, Act::Run, Act::Run, OFF])],
                RunState::Off,
            ),
        ]
    });
}

#[test]
fn an_interrupt_that_is_sent_is_received() {
    in_many_orders(2, || {
        let first = vec![
            Act::On(1),
            Act::Send(1),
            Act::Receive,
            Act::Send(1),
            Act::Receive,
            OFF,
        ];
        let second = vec![Act::Receive, Act::Send(0), Act::Receive, Act::Send(0)];
        vec![
            ending(vec![(0, first), (1, second)], RunState::Off),
            ending(vec![(1, vec![Act::Run, Act::Run, OFF])], RunState::Off),
        ]
    });
}

#[test]
fn an_interrupt_is_received_where_both_share_a_cpu() {
    in_many_orders(2, || {
        let first = vec![Act::On(1), Act::Receive, Act::Send(1), Act::Receive, OFF];
        let second = vec![Act::Send(0), Act::Receive, Act::Send(0)];
        vec![
            ending(vec![(0, first), (0, second)], RunState::Off),
            ending(vec![(1, vec![Act::Run, OFF])], RunState::Off),
        ]
    });
}

#[test]
fn one_that_spins_leaves_the_others_their_time_slices() {
    in_many_orders(2, || {
        let spins = vec![Act::On(1), Act::Spin, OFF];
        let sends = vec![Act::Run, Act::Send(0)];
        vec![
            ending(vec![(0, spins), (0, sends)], RunState::Off),
            ending(vec![(1, vec![Act::Run, OFF])], RunState::Off),
        ]
    });
}
