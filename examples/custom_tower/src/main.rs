//! `esmm-funnel` with the tower `gated`.

use custom_tower as _;

fn main() -> std::process::ExitCode {
    esmm_funnel::main()
}
