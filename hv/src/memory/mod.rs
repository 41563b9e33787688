//! Who has which memory: RAM given out, stage 2 of VMs and of their guests, and what is in it when a life begins.

pub(crate) mod contexts;
pub(crate) mod guest_memory;
pub(crate) mod l1_memory;
pub(crate) mod loader;
mod pages;
pub(crate) mod ram;

pub(crate) use guest_memory::GuestMemory;
