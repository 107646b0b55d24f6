//! The detect role alone, for an image that carries nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    detektor_runtime::role::main::<detektor_detect::role::DetectRole>()
}
