//! Files of certificates to trust, as operators name them.

use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What a file of certificates (PEM) holds. Drivers take any text, and some then trust nobody without a word: so it is looked
/// through here.
///
/// # Errors
/// Where the file cannot be read, holds no certificate, or one that cannot be read.
pub(crate) fn certificates(path: &Path) -> io::Result<String> {
    let pem = std::fs::read_to_string(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("it holds no certificate"));
    }
    Ok(pem)
}
