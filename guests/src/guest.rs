//! How a guest is declared.

/// Declares a guest: `main` runs on the first vCPU with the machine's facts, `secondary` on every further one,
/// `exception` on any exception of either.
#[macro_export]
macro_rules! guest {
    (main: $main:path, secondary: $secondary:path, exception: $exception:path $(,)?) => {
        // SAFETY: the one definition of each symbol; `smp` and `trap` declare them with these signatures.
        #[unsafe(no_mangle)]
        fn droste_guest_main(machine: $crate::tree::Machine) {
            $main(machine)
        }
        // SAFETY: as above.
        #[unsafe(no_mangle)]
        fn droste_guest_on_secondary(vcpu: usize) -> ! {
            $secondary(vcpu)
        }
        // SAFETY: as above.
        #[unsafe(no_mangle)]
        fn droste_guest_exception(vector: $crate::trap::Vector, frame: &mut $crate::trap::Frame) {
            $exception(vector, frame)
        }
    };
}
