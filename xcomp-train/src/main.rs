//! The `xcomp` program.

fn main() -> std::process::ExitCode {
    xcomp_train::main()
}
