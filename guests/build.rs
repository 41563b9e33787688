//! Passes the guests' linker script to the linker, for the bare-metal target only.

fn main() {
    println!("cargo:rerun-if-changed=guest.ld");
    let var = |name| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_OS") == "none" {
        println!(
            "cargo:rustc-link-arg-bins=-T{}/guest.ld",
            var("CARGO_MANIFEST_DIR")
        );
    }
}
