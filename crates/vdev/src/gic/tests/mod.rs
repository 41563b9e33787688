//! Event by event: what a guest, a device or a physical interrupt does, and what the list registers then hold.

mod delivery;
mod machine;
mod random;
mod registers;
