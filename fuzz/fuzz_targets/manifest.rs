//! Any text as a model's manifest.
#![no_main]

use detektor_detect::model::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert!(!manifest.input.is_empty() && manifest.labels.iter().next().is_some());
            assert!(manifest.output.predictions(&manifest.input).is_none_or(|n| n <= 1_000_000));
        }
        Err(mistakes) => assert!(!mistakes.0.is_empty() && !mistakes.to_string().is_empty()),
    }
});
