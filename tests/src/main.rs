//! The `xcomp` program, as the tests run it.

fn main() -> std::process::ExitCode {
    xcomp_train::main()
}
