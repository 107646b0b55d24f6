//! Where the ONNX Runtime library is.

use std::path::{Path, PathBuf};

use super::EngineError;

/// Names it for one process.
const VARIABLE: &str = "ORT_DYLIB_PATH";
const NAME: &str = "libonnxruntime.so";

/// The library: the one that is named, else the one in `ORT_DYLIB_PATH`, else the first of the usual places:
/// `scripts/fetch-onnxruntime`'s folder, beside the executable, where images and distributions put it.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, EngineError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let only = named.map(Path::to_owned).or_else(|| variable(VARIABLE));
    let looked_at = match only {
        Some(path) => vec![path],
        None => {
            let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
            let executable = std::env::current_exe().ok();
            usual_places(cache.as_deref(), executable.as_deref())
        }
    };
    // The loader takes a relative path to be relative to the executable; people mean the working directory.
    let found = looked_at.iter().find(|path| path.is_file()).and_then(|path| std::path::absolute(path).ok());
    found.ok_or(EngineError::NoLibrary { looked_at })
}

fn usual_places(cache: Option<&Path>, executable: Option<&Path>) -> Vec<PathBuf> {
    let folders = [
        cache.map(|cache| cache.join("detektor")),
        executable.and_then(Path::parent).map(Path::to_owned),
        Some("/usr/local/lib".into()),
        Some("/usr/lib".into()),
        Some(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH).into()),
    ];
    folders.into_iter().flatten().map(|folder| folder.join(NAME)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_library_says_what_to_do() {
        let error = find(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/libonnxruntime.so"), "{error}");
        assert!(error.contains("scripts/fetch-onnxruntime"), "{error}");
    }

    #[test]
    fn the_fetched_one_comes_first() {
        let places = usual_places(Some(Path::new("/c")), Some(Path::new("/opt/detektor/bin/detektor")));
        assert_eq!(places[0], Path::new("/c/detektor/libonnxruntime.so"));
        assert_eq!(places[1], Path::new("/opt/detektor/bin/libonnxruntime.so"));
    }
}
