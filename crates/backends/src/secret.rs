//! Secrets in files, as orchestrators mount them.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A file that holds one secret and nothing else but white space around it. It is read anew each time, so that a secret can
/// be changed while we run; only its path shows in logs.
#[derive(Clone, Debug)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// The secret in the file at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What the file holds now.
    ///
    /// # Errors
    /// Where the file cannot be read, is no text, or is empty; the error names it.
    pub fn read(&self) -> io::Result<Zeroizing<String>> {
        let name = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.0.display()));
        let text = Zeroizing::new(std::fs::read_to_string(&self.0).map_err(name)?);
        let secret = text.trim();
        if secret.is_empty() {
            return Err(name(io::Error::new(io::ErrorKind::InvalidData, "the file is empty")));
        }
        Ok(Zeroizing::new(secret.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_secret_is_read_anew_and_shows_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let secret = SecretFile::new(&path);
        assert!(secret.read().unwrap_err().to_string().contains("password"));
        for text in ["one\n", " two "] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(*secret.read().unwrap(), text.trim());
        }
        assert!(!format!("{secret:?}").contains("two"));
        std::fs::write(&path, "\n").unwrap();
        assert!(secret.read().unwrap_err().to_string().contains("is empty"));
    }
}
