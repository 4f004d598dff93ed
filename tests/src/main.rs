//! The `xcomp` program, built where the tests find it.

fn main() -> std::process::ExitCode {
    xcomp_train::main()
}
