//! Stage 2 against a recorder: the exact verbs of each operation, and what the tables hold after it.
//!
//! Nothing here judges whether the verbs suffice for TLBs: that is a model's task.

mod bench;
mod contents;
mod contexts;
mod contiguous;
mod devices;
mod exclusive;
mod faults;
mod hardware;
mod logging;
mod mapping;
mod recorder;
mod relaxing;
mod remapping;
mod resizing;
mod shapes;
mod trees;
mod unmapping;
mod vmids;
