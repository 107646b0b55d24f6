use detektor_contract::{Fault, Faulty};

use super::PrepareError;

/// Why an engine could not be made, or could not look.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A picture is of no use to this engine.
    #[error("preparing a picture")]
    Prepare(#[from] PrepareError),
}

impl Faulty for EngineError {
    fn fault(&self) -> Fault {
        match self {
            EngineError::Prepare(_) => Fault::Permanent,
        }
    }
}
