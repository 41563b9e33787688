//! Event by event: what a guest, a device or a physical interrupt does, and what the list registers then hold.

mod bare;
mod delivery;
mod direct;
mod ends;
mod ich;
mod lines;
mod machine;
mod nested;
mod physical;
mod quiet;
mod random;
mod random_nested;
mod registers;
mod sgis;
mod signal;
mod timers;
