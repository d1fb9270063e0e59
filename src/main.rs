//! The command `esmm-funnel`.

fn main() -> std::process::ExitCode {
    esmm_funnel::main()
}
