//! Whom we believe to be the database.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;
use crate::servers::PostgresSetup;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this machine's address, and its key.
fn certificate(by: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_server_proves_who_it_is() {
    let (ours, other) = (authority("ours"), authority("other"));
    let server = PostgresServer::start(PostgresSetup { certificate: Some(certificate(&ours)) }).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, by: &Authority| {
        std::fs::write(dir.path().join(name), by.pem()).unwrap();
        Some(dir.path().join(name))
    };
    let trusting = PostgresOptions { ca_file: file("ours", &ours), ..server.database().await };
    Postgres::migrate(&trusting).await.unwrap();
    Postgres::open(&trusting).await.unwrap().store().ping().await.unwrap();

    let by_another = PostgresOptions { ca_file: file("other", &other), ..trusting.clone() };
    let url = trusting.url.replace("127.0.0.1", "localhost");
    let of_another_name = PostgresOptions { url, ..trusting.clone() };
    let system = format!("{}?sslmode=verify-full", trusting.url);
    let unknown = PostgresOptions { ca_file: None, url: system, ..trusting.clone() };
    for options in [by_another, of_another_name, unknown] {
        let error = Postgres::open(&options).await.err().expect("it believed the server");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(source.contains("certificate"), "{error}: {source}");
    }
}
