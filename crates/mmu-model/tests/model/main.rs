//! The model judged: for every rule a run that keeps it and runs that break it, with the rule that is reported.

mod break_before_make;
mod formats;
mod garbage;
mod guests;
mod invalidation;
mod pages;
mod permissions;
mod random;
mod rig;
mod runs;
mod smmu;
mod traces;
mod visibility;
mod vmids;
mod watching;
