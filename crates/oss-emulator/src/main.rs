//! The emulator as a program of its own.

fn main() {
    let args = std::env::args().skip(1).collect();
    std::process::exit(oss_emulator::main_with_args(args));
}
